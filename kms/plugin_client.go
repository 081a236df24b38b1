package kms

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
)

// pluginGrace is how long a plugin's children may hold its output open once it
// has ended or was killed.
const pluginGrace = time.Second

// A pluginCall is one run of the program.
type pluginCall struct {
	hash   crypto.Hash
	method *common.MethodArgs
	input  []byte // standard input
}

func (k *pluginKey) ask(ctx context.Context, op string, call pluginCall) (*common.PluginResp, error) {
	var answer *common.PluginResp
	err := k.store.call(ctx, op, func(ctx context.Context) error {
		path := k.store.config.Plugin
		// Each time, because what was fit to run yesterday may be anybody's today.
		if err := checkPlugin(path); err != nil {
			return fmt.Errorf("%w: plugin: %w", ErrUnsupported, err)
		}
		var err error
		answer, err = runPlugin(ctx, path, k.name, call)
		return err
	})
	return answer, err
}

// runPlugin runs the program once. Plugins take their secrets from the
// environment, so it gets ours.
func runPlugin(ctx context.Context, path, key string, call pluginCall) (*common.PluginResp, error) {
	args, err := json.Marshal(pluginArguments(ctx, key, call))
	if err != nil {
		return nil, fmt.Errorf("encoding the plugin's arguments: %w", err)
	}
	stdout, stderr := cutBuffer{room: maxAnswer}, cutBuffer{room: 2 * maxWords, drop: true}
	cmd := exec.CommandContext(ctx, path, common.ProtocolVersion, string(args)) //nolint:gosec // the operator names the program, by its path
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(call.input), &stdout, &stderr
	// A group of its own, so that what it starts ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pluginGrace
	failed := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case stdout.full:
		return nil, &StoreError{Kind: ErrUnsupported, Code: "plugin", Message: errTooLong.Error()}
	}
	var answer common.PluginResp
	if err := json.Unmarshal(stdout.kept, &answer); err != nil {
		return nil, &StoreError{Kind: ErrUnavailable, Code: "plugin", Message: pluginWords(failed, string(stderr.kept))}
	}
	// The exit code says nothing in this protocol. Neither does the message, by
	// which we could tell whether to try again; so we do.
	if answer.ErrorMessage != "" {
		return nil, &StoreError{Kind: ErrUnavailable, Code: "plugin", Message: answer.ErrorMessage}
	}
	return &answer, nil
}

func pluginArguments(ctx context.Context, key string, call pluginCall) *common.PluginArgs {
	args := &common.PluginArgs{MethodArgs: call.method, InitOptions: &common.InitOptions{
		ProtocolVersion: common.ProtocolVersion, KeyResourceID: key, HashFunc: call.hash, RPCOptions: &common.RPCOptions{}}}
	if deadline, ok := ctx.Deadline(); ok {
		args.InitOptions.CtxDeadline, args.InitOptions.RPCOptions.CtxDeadline = &deadline, &deadline
		if sign := call.method.SignMessage; sign != nil {
			sign.SignOptions.RPCOptions.CtxDeadline = &deadline
		}
		if public := call.method.PublicKey; public != nil {
			public.PublicKeyOptions.RPCOptions.CtxDeadline = &deadline
		}
	}
	return args
}

// pluginWords tells what came instead of an answer.
func pluginWords(failed error, stderr string) string {
	text := "its output is not the protocol's JSON"
	if failed != nil {
		text = "it gave no answer: " + failed.Error()
	}
	if stderr != "" {
		text += ": " + stderr
	}
	return text
}

// checkPlugin refuses a program that somebody else could have put there.
func checkPlugin(path string) error {
	switch {
	case path == "":
		return errors.New("the key store names no program; allowed: the absolute path of a program that speaks sigstore's key store plugin protocol")
	case !filepath.IsAbs(path):
		return fmt.Errorf("%q is not an absolute path; nothing is looked for on PATH", path)
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("%s is no program; allowed: an executable regular file", path)
	}
	dir, err := os.Stat(filepath.Dir(target))
	if err != nil {
		return err
	}
	if err := onlyOurs(target, info); err != nil {
		return err
	}
	if dir.Mode()&fs.ModeSticky != 0 {
		return nil // others can put files there, but not in another's place
	}
	return onlyOurs(filepath.Dir(target), dir)
}

// onlyOurs checks that nobody but root and we can change a file.
func onlyOurs(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s has permissions %#o; allowed: not writable by group or others", path, info.Mode().Perm())
	case !ok || stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("%s is neither root's nor ours", path)
	}
	return nil
}

// A cutBuffer keeps what it has room for. What is more is dropped, or ends the
// writing. The buffer is not embedded: its ReadFrom would know no limit.
type cutBuffer struct {
	kept []byte
	room int
	drop bool
	full bool
}

func (b *cutBuffer) Write(p []byte) (int, error) {
	n := min(len(p), b.room)
	b.kept = append(b.kept, p[:n]...)
	b.room -= n
	if n == len(p) {
		return n, nil
	}
	b.full = true
	if b.drop {
		return len(p), nil
	}
	return n, errTooLong
}
