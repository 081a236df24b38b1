package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// CronFields says what a schedule looks like, for error messages.
const CronFields = "six fields in UTC: second minute hour day-of-month month day-of-week"

var cronParser = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// A Schedule says when a scheduled policy is due.
type Schedule struct{ s cron.Schedule }

// Next returns the first tick after t, in UTC. It is zero when there is none
// within five years, as for 29 February before a century that has none.
func (s Schedule) Next(t time.Time) time.Time { return s.s.Next(t.UTC()) }

// ParseCron reads a schedule of exactly six fields, evaluated in UTC. It
// refuses what robfig/cron would otherwise accept and what would surprise: time
// zone prefixes, descriptors (@daily), and schedules that never fire.
func ParseCron(spec string) (Schedule, error) {
	spec = strings.TrimSpace(spec)
	switch {
	case spec == "":
		return Schedule{}, errors.New("is required for a scheduled trigger")
	case strings.HasPrefix(spec, "TZ="), strings.HasPrefix(spec, "CRON_TZ="):
		return Schedule{}, errors.New("must not name a time zone: schedules are UTC")
	case strings.HasPrefix(spec, "@"):
		return Schedule{}, errors.New("must not be a descriptor")
	}
	if n := len(strings.Fields(spec)); n != 6 {
		return Schedule{}, fmt.Errorf("has %d of six fields", n)
	}
	s, err := cronParser.Parse(spec)
	if err != nil {
		return Schedule{}, fmt.Errorf("is not a schedule: %w", err)
	}
	if s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, errors.New("never fires")
	}
	return Schedule{s}, nil
}
