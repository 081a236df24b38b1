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

// weekYears is after how many years the days of the week fall on the same days of the
// year again, and so what days follow on one another.
const weekYears = 28

// Closer returns how long after another a tick may be that comes sooner than least, a
// day at most; false if none does.
//
// Every day that has ticks has them at the same times, so that one such day shows
// what is between the ticks of a day. Of what is between two days it depends on the
// calendar whether there are two such in a row.
func (s Schedule) Closer(least time.Duration) (time.Duration, bool) {
	if least <= time.Second { // as far apart as any two are
		return 0, false
	}
	first := s.Next(time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC))
	last := first
	for next := s.Next(last); !next.IsZero() && sameDay(next, first); next = s.Next(last) {
		if gap := next.Sub(last); gap < least {
			return gap, true
		}
		last = next
	}
	if night := 24*time.Hour - last.Sub(first); night >= least {
		return 0, false
	}
	for end := last.AddDate(weekYears, 0, 0); last.Before(end); {
		next := s.Next(last)
		if next.IsZero() {
			break
		}
		if gap := next.Sub(last); gap < least {
			return gap, true
		}
		first, last = next, next.Add(last.Sub(first))
	}
	return 0, false
}

func sameDay(a, b time.Time) bool { return a.YearDay() == b.YearDay() && a.Year() == b.Year() }
