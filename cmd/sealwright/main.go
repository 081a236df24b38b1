// Command sealwright signs every container image that a policy covers, and
// proves it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sealwright/sealwright/configs"
)

// Exit codes; scripts depend on them.
const (
	exitOK     = 0
	exitFailed = 1 // something failed or is unsigned
	exitUsage  = 2 // usage or configuration error
)

// errIncomplete ends a command with exit code 1 when its output has already
// said what failed or is unsigned.
var errIncomplete = errors.New("not everything is signed")

// usageError marks errors of usage or configuration: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() { os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// execute runs one command line and returns its exit code.
func execute(args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, err: errOut}
	root := a.rootCommand()
	root.SetArgs(args)
	ctx, stop := interruptible(context.Background(), args)
	defer stop()
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errIncomplete):
		return exitFailed
	}
	fmt.Fprintln(errOut, "sealwright:", err)
	if a.output == "json" {
		a.printFailure(err)
	}
	if usage := (usageError{}); errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// failure is what commands print with --output json when they fail.
type failure struct {
	Error  string          `json:"error"`
	Faults []configs.Fault `json:"faults,omitempty"` // of the configuration
}

// printFailure prints an error for programs, beside the words on standard error.
func (a *app) printFailure(err error) {
	f := failure{Error: err.Error()}
	if faults := (configs.Errors{}); errors.As(err, &faults) {
		f.Error, f.Faults = "the configuration is not valid", faults
	}
	_ = a.print(f, nil) // there is no other way left to tell
}

// interruptible makes SIGINT and SIGTERM cancel the context of every command
// but run, which drains instead. A second signal ends the process as usual.
func interruptible(ctx context.Context, args []string) (context.Context, context.CancelFunc) {
	if slices.Contains(args, "run") {
		return context.WithCancel(ctx)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// An app is what commands share: streams and global flags.
type app struct {
	in       io.Reader
	out, err io.Writer

	config   string
	output   string
	logLevel string
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sealwright",
		Short: "Sign every container image that a policy covers, and prove it",
		Long: `Sealwright keeps a promise: every artifact that a policy covers carries a
signature by the policy's key, and that can be proved.

Exit codes: 0 all well; 1 something failed or is unsigned; 2 usage or
configuration error.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if err := c.ValidateFlagGroups(); err != nil {
				return usageError{err}
			}
			if a.output != "text" && a.output != "json" {
				return usageError{fmt.Errorf("--output %q: allowed: text, json", a.output)}
			}
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.config, "config", "", "configuration `FILE` (default "+systemConfig+", else ./"+localConfig+")")
	flags.StringVar(&a.output, "output", "text", "output `FORMAT`: text or json")
	flags.StringVar(&a.logLevel, "log-level", "info", "least `LEVEL` logged: debug, info, warn or error")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(a.runCommand(), a.planCommand(), a.checkCommand(), a.triggerCommand(), a.coverageCommand(),
		a.historyCommand(), a.recordsCommand(), a.verifyCommand(), a.keyCommand(), a.importCommand(),
		a.resignCommand(), a.pruneCommand(), a.demoCommand(), a.doctorCommand(),
		a.versionCommand())
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	usageArgs(root)
	return root
}

// usageArgs makes a command's argument errors usage errors, and so its
// subcommands'; also a subcommand that there is not, instead of which cobra
// would show help and succeed.
func usageArgs(c *cobra.Command) {
	if !c.Runnable() {
		c.Args, c.DisableFlagsInUseLine, c.SuggestionsMinimumDistance = cobra.ArbitraryArgs, true, 2
		c.RunE = group
	}
	if c.Name() == "help" {
		c.Args = helpTopic
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageArgs(sub)
	}
}

// group is what a command does that only holds others.
func group(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	did := ""
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		did = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{fmt.Errorf("unknown command %q for %q%s", args[0], c.CommandPath(), did)}
}

// helpTopic refuses arguments of help that are no command.
func helpTopic(c *cobra.Command, args []string) error {
	if _, rest, err := c.Root().Find(args); err != nil || len(rest) > 0 {
		return fmt.Errorf("no help about %q", strings.Join(args, " "))
	}
	return nil
}
