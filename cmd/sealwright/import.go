package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/configs"
)

func (a *app) importCommand() *cobra.Command {
	c := &cobra.Command{Use: "import", Short: "Turn a vendor's signature policies into native YAML"}
	c.AddCommand(
		a.importVendor("tcr", "Tencent TCR CreateSignaturePolicy requests or kms_sign metadata", configs.ImportTCR),
		a.importVendor("swr", "Huawei SWR signature policies", configs.ImportSWR))
	return c
}

func (a *app) importVendor(name, what string, convert func(io.Reader) ([]byte, []configs.Fault, error)) *cobra.Command {
	return &cobra.Command{
		Use:   name + " FILE",
		Short: what + " (JSON) → YAML on standard output; FILE - is standard input",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			in := a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return usageError{err}
				}
				defer func() { _ = f.Close() }() // only read
				in = f
			}
			yaml, notes, err := convert(in)
			if err != nil {
				return usageError{fmt.Errorf("%s: %w", args[0], err)}
			}
			if a.output == "json" {
				return a.print(struct {
					YAML  string          `json:"yaml"`
					Notes []configs.Fault `json:"notes"`
				}{string(yaml), nonNil(notes)}, nil)
			}
			for _, n := range notes {
				fmt.Fprintln(a.err, "note:", n)
			}
			_, err = a.out.Write(yaml)
			return err
		},
	}
}
