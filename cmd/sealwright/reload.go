package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
)

// reopenEvery is how often keys are asked for again that their stores did not
// give.
const reopenEvery = 30 * time.Second

// An opening is a setup on its way. A key store may take seconds to answer, or
// not to; signals are heard meanwhile.
type opening struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when next and err are set
	next   *prepared
	err    error
	then   func(*prepared, error) // what to do with them
}

// ended is closed when the opening has ended; for none it is nil, which is never
// ready.
func (o *opening) ended() <-chan struct{} {
	if o == nil {
		return nil
	}
	return o.done
}

// begin opens a configuration, but not the keys to keep, and has then decide
// what becomes of it.
func (d *service) begin(ctx context.Context, cfg *configs.Config, keep map[string]engine.Key, then func(*prepared, error)) {
	ctx, cancel := context.WithCancel(ctx)
	o := &opening{cancel: cancel, done: make(chan struct{}), then: then}
	go func() {
		defer close(o.done)
		o.next, o.err = d.opener.prepare(ctx, cfg, keep)
	}()
	d.opening = o
}

// settle waits for the opening that is under way.
func (d *service) settle() {
	o := d.opening
	d.opening = nil
	<-o.done
	o.cancel()
	o.then(o.next, o.err)
}

// abandon ends the opening that is under way, if there is one, and drops what
// came of it.
func (d *service) abandon() {
	if d.opening == nil {
		return
	}
	d.opening.cancel()
	d.opening.then = func(next *prepared, err error) {
		if err == nil {
			d.drop(next)
		}
	}
	d.settle()
}

func (d *service) drop(next *prepared) {
	if err := next.setup.Close(); err != nil {
		d.log.Warn("closing keys", zap.Error(err))
	}
}

// reload replaces the configuration; a bad one is refused and the old stays, but
// for the keys that the new one disables. A reload that is still under way is
// replaced by this one.
func (d *service) reload(ctx context.Context) {
	notify(d.log, reloading())
	cfg, err := d.app.load()
	if err == nil && cfg.State != d.state {
		err = fmt.Errorf("state: changing it needs a restart; it stays %s", shownState(d.state))
	}
	if err == nil && (cfg.Listen != d.config.Listen || cfg.TLS != d.config.TLS) {
		err = fmt.Errorf("listen, tls: changing them needs a restart; listen stays %q", d.config.Listen)
	}
	if err == nil && !reflect.DeepEqual(cfg.SignatureKeys, d.config.SignatureKeys) {
		err = errors.New("signature_keys: changing them needs a restart")
	}
	if err == nil && cfg.Tracing != d.config.Tracing {
		err = errors.New("tracing: changing it needs a restart")
	}
	if err != nil {
		d.reloaded(nil, err)
		return
	}
	if names := d.opener.turnOff(cfg); len(names) > 0 {
		d.log.Info("keys disabled", zap.Strings("keys", names))
	}
	d.abandon()
	d.begin(ctx, cfg, nil, d.reloaded)
}

func (d *service) reloaded(next *prepared, err error) {
	defer notify(d.log, ready)
	var sinks []openedSink
	if err == nil {
		if sinks, err = d.openSinks(next.config); err == nil {
			err = d.enforce(next)
		}
		if err != nil {
			d.drop(next)
		}
	}
	if err != nil {
		d.log.Error("configuration refused, the old one stays", zap.Error(err))
		return
	}
	d.opener.turn(next.config)
	d.opener.adopt(next) // last: what the new receivers take is matched by the new policies
	d.config = next.config
	d.current.Store(next.config)
	d.sinks.start(sinks)
	d.log.Info("configuration reloaded", zap.Int("policies", len(next.config.Policies)))
	d.warnOfKeys()
}

// enforce lets in who may ask by a new configuration, and makes the engine work
// with it. If it fails, nothing has changed.
func (d *service) enforce(next *prepared) error {
	if err := d.admit(next.config); err != nil {
		return err
	}
	d.engine.Replace(next.setup)
	return nil
}

// reopen tries the keys again that their stores did not give, as nothing else
// would tell that they do by now. The others are not asked for, and no switch is
// touched.
func (d *service) reopen(ctx context.Context) {
	if d.opening != nil || len(failing(d.opener.keys)) == 0 {
		return
	}
	d.begin(ctx, d.config, d.opener.keys, d.reopened)
}

func (d *service) reopened(next *prepared, err error) {
	if err != nil {
		d.log.Warn("keys not opened again", zap.Error(err))
		return
	}
	still := failing(next.keys)
	opened := slices.DeleteFunc(failing(d.opener.keys), func(name string) bool { return slices.Contains(still, name) })
	if len(opened) == 0 {
		d.drop(next)
		return
	}
	d.engine.Replace(next.setup)
	d.opener.adopt(next)
	d.log.Info("keys opened again", zap.Strings("keys", opened), zap.Strings("still_failing", still))
}

// warnOfKeys says which keys their stores did not give.
func (d *service) warnOfKeys() {
	if names := failing(d.opener.keys); len(names) > 0 {
		d.log.Error("keys not opened: their policies fail until they are", zap.Strings("keys", names))
	}
}
