//go:build cgo

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sealwright/sealwright/kms/pkcs11api"
)

const usage = `Usage: sealwright-pkcs11 --module FILE [flags]

Signs with the keys of one PKCS#11 token for a sealwright of the same user.

  --module FILE     the PKCS#11 module of the token's vendor, a shared library
  --socket PATH     unix socket to serve, made with mode 0600
                    (default ` + pkcs11api.DefaultSocket + `)
  --token LABEL     the token, by its label
  --serial SERIAL   the token, by its serial number
                    (default: the only token there is)
  --pin-file FILE   file with the user PIN, readable by its owner alone; it is
                    read again at each login
  --pin-env NAME    environment variable with the user PIN
  --sessions N      sessions used at once, 1 to 1024 (default 8)
  --log-level L     debug, info, warn or error (default info)
  --version         print the version

A PIN that the token refuses is not tried again until the file holds another
one or the helper is started again: tokens lock after a few wrong PINs.

Exit codes: 0 stopped as told; 1 something failed; 2 usage or configuration
error.
`

// Sessions used at once.
const (
	defaultSessions = 8
	maxSessions     = 1024
)

// maxSocketPath is what the kernel allows, less the room for the directory in
// which a socket is made before it is moved to its place.
const maxSocketPath = 80

// options are what the command line says.
type options struct {
	module, socket string
	token          tokenConfig
	pinEnv         string
	logLevel       zapcore.Level
}

// errVersion: the command line asks for the version.
var errVersion = errors.New("version asked for")

// parseOptions reads a command line. lookup finds environment variables.
func parseOptions(args []string, lookup func(string) (string, bool)) (options, error) {
	var o options
	var pinFile, level string
	var wantVersion bool
	flags := flag.NewFlagSet("sealwright-pkcs11", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the caller says what went wrong
	flags.StringVar(&o.module, "module", "", "")
	flags.StringVar(&o.socket, "socket", pkcs11api.DefaultSocket, "")
	flags.StringVar(&o.token.label, "token", "", "")
	flags.StringVar(&o.token.serial, "serial", "", "")
	flags.StringVar(&pinFile, "pin-file", "", "")
	flags.StringVar(&o.pinEnv, "pin-env", "", "")
	flags.IntVar(&o.token.sessions, "sessions", defaultSessions, "")
	flags.StringVar(&level, "log-level", "info", "")
	flags.BoolVar(&wantVersion, "version", false, "")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if wantVersion {
		return o, errVersion
	}
	var err error
	o.logLevel, err = zapcore.ParseLevel(level)
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case err != nil || o.logLevel > zapcore.ErrorLevel:
		return o, fmt.Errorf("--log-level %q: allowed: debug, info, warn, error", level)
	}
	if err := o.validate(); err != nil {
		return o, err
	}
	o.token.pin, err = newPIN(pinFile, o.pinEnv, lookup)
	return o, err
}

func (o options) validate() error {
	switch {
	case o.module == "":
		return errors.New("--module is missing: the path of the PKCS#11 module of the token's vendor, such as /usr/lib/softhsm/libsofthsm2.so")
	case !filepath.IsAbs(o.module):
		// The dynamic linker would search for a bare name in places of its own.
		return fmt.Errorf("--module %q: allowed: an absolute path", o.module)
	case !filepath.IsAbs(o.socket):
		return fmt.Errorf("--socket %q: allowed: an absolute path", o.socket)
	case len(o.socket) > maxSocketPath:
		return fmt.Errorf("--socket has %d bytes; allowed: at most %d", len(o.socket), maxSocketPath)
	case o.token.sessions < 1 || o.token.sessions > maxSessions:
		return fmt.Errorf("--sessions %d: allowed: 1 to %d", o.token.sessions, maxSessions)
	}
	return nil
}

func newLogger(w io.Writer, level zapcore.Level) *zap.Logger {
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.MessageKey = "time", "message"
	cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(cfg), zapcore.Lock(zapcore.AddSync(w)), level))
}

// release is set when a release is linked: -ldflags "-X main.release=v1.2.3".
var release = ""

func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
