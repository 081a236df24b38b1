//go:build cgo

// Command sealwright-pkcs11 signs with the keys of one PKCS#11 token for a
// sealwright of the same user, which asks by a unix socket (see package
// pkcs11api). It is a program of its own because a PKCS#11 module is a shared
// library: it needs cgo and dynamic linking, runs its vendor's code in the
// process, and keeps sessions and a login that are worth keeping.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/miekg/pkcs11"
	"go.uber.org/zap"
)

// Exit codes; service managers depend on them: after exitUsage a new start
// would end the same way.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // usage or configuration error
)

// stopGrace is how long answers under way may take once the helper is told to
// stop.
const stopGrace = 20 * time.Second

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// execute runs one command line and returns its exit code.
func execute(args []string, out, errOut io.Writer) int {
	opts, err := parseOptions(args, os.LookupEnv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return exitOK
	case errors.Is(err, errVersion):
		fmt.Fprintln(out, "sealwright-pkcs11", version())
		return exitOK
	case err != nil:
		fmt.Fprintf(errOut, "sealwright-pkcs11: %v\nRun sealwright-pkcs11 --help for usage.\n", err)
		return exitUsage
	}
	if opts.pinEnv != "" {
		// What the module starts, if it starts anything, has no need of it.
		_ = os.Unsetenv(opts.pinEnv) // fails for no name that parseOptions lets pass
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process as usual
	if err := run(ctx, opts, newLogger(errOut, opts.logLevel)); err != nil {
		fmt.Fprintln(errOut, "sealwright-pkcs11:", err)
		if errors.Is(err, errModule) {
			return exitUsage
		}
		return exitFailed
	}
	return exitOK
}

// errModule is wrapped by the errors of a module that cannot be loaded.
var errModule = errors.New("cannot load the PKCS#11 module")

// run serves until ctx ends.
func run(ctx context.Context, opts options, log *zap.Logger) error {
	module := pkcs11.New(opts.module)
	if module == nil {
		return fmt.Errorf("%w %s: allowed: the path of a shared library for this machine that has C_GetFunctionList", errModule, opts.module)
	}
	// The module is not unloaded at the end: a call that hangs may still be in it.
	t := newToken(module, opts.token, log)
	listener, err := listen(ctx, opts.socket)
	if err != nil {
		return err
	}
	// What keeps the token away may pass, a PIN can be corrected; and a helper
	// that ended would be started again with the same wrong PIN until the token
	// is locked. So it stays and says in every answer what is wrong.
	if err := t.warmUp(ctx); err != nil && ctx.Err() == nil {
		log.Error("token not ready, tried again when asked", zap.Error(err))
	}
	s := newServer(t, log)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	notify(log, daemon.SdNotifyReady)
	log.Info("serving", zap.String("socket", opts.socket), zap.String("module", opts.module), zap.Int("sessions", opts.token.sessions))
	select {
	case err = <-served:
		err = fmt.Errorf("serving %s: %w", opts.socket, err)
	case <-ctx.Done():
		notify(log, daemon.SdNotifyStopping)
		err = shutDown(s, served) // what is under way may end after ctx has
	}
	t.close()
	return errors.Join(err, removeSocket(opts.socket))
}

func notify(log *zap.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("service manager not notified", zap.Error(err))
	}
}
