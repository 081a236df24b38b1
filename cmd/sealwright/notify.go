package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// What systemd is told. Without systemd nobody is.
const (
	ready    = daemon.SdNotifyReady
	stopping = daemon.SdNotifyStopping
)

// reloading says that a reload began now; Type=notify-reload wants the
// monotonic time with it.
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return daemon.SdNotifyReloading
	}
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000)
}

func notify(log *zap.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd not notified", zap.Error(err))
	}
}

// startWatchdog pings systemd's watchdog, where there is one, as long as alive
// says the daemon works; systemd restarts it otherwise. It returns the
// watchdog's interval and how to stop.
func startWatchdog(log *zap.Logger, alive func(context.Context) error) (time.Duration, func()) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("watchdog settings not understood", zap.Error(err))
	}
	if interval <= 0 {
		return 0, func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(interval / 3)
		defer tick.Stop()
		for {
			ping(ctx, log, interval/3, alive)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return interval, func() { cancel(); <-done }
}

func ping(ctx context.Context, log *zap.Logger, limit time.Duration, alive func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := alive(ctx); err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) {
			log.Error("watchdog not fed: the journal does not answer", zap.Error(err))
		}
		return
	}
	notify(log, daemon.SdNotifyWatchdog)
}
