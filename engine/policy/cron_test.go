package policy

import (
	"strings"
	"testing"
	"time"
)

func TestParseCronTicks(t *testing.T) {
	// A Monday.
	from := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct{ name, spec, want string }{
		{"every second", "* * * * * *", "2026-06-01T12:00:01Z"},
		{"nightly", "0 0 2 * * *", "2026-06-02T02:00:00Z"},
		{"seconds come first", "30 * * * * *", "2026-06-01T12:00:30Z"},
		{"day names", "0 0 0 * * MON-FRI", "2026-06-02T00:00:00Z"},
		{"month names in any case", "0 0 0 1 jan *", "2027-01-01T00:00:00Z"},
		{"question marks", "0 0 0 ? * ?", "2026-06-02T00:00:00Z"},
		{"sunday is 0", "0 0 0 * * 0", "2026-06-07T00:00:00Z"},
		{"day of month or day of week", "0 0 0 13 * FRI", "2026-06-05T00:00:00Z"},
		{"day of month or day of week, the other", "0 0 0 2 * FRI", "2026-06-02T00:00:00Z"},
		{"leap day", "0 0 0 29 2 *", "2028-02-29T00:00:00Z"},
		{"steps and lists", "0 */20,5 12 * * *", "2026-06-01T12:05:00Z"},
		{"outer blanks", "  0 0 2 * * *\t", "2026-06-02T02:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ParseCron(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Next(from).Format(time.RFC3339); got != tt.want {
				t.Errorf("%q is next due %s, want %s", tt.spec, got, tt.want)
			}
		})
	}
}

// TestScheduleIsUTC asks with a local time whose date is another one in UTC.
func TestScheduleIsUTC(t *testing.T) {
	s, err := ParseCron("0 0 2 * * *")
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 6, 1, 23, 0, 0, 0, time.FixedZone("west", -5*60*60)) // 04:00 UTC on the 2nd
	if got, want := s.Next(from), time.Date(2026, 6, 3, 2, 0, 0, 0, time.UTC); got != want {
		t.Errorf("Next = %s, want %s", got, want)
	}
}

func TestParseCronRefuses(t *testing.T) {
	for _, tt := range []struct{ spec, want string }{
		{"", "is required for a scheduled trigger"},
		{" \t", "is required for a scheduled trigger"},
		{"TZ=Asia/Shanghai 0 0 2 * * *", "must not name a time zone: schedules are UTC"},
		{"TZ=UTC 0 2 * * *", "must not name a time zone: schedules are UTC"},
		{" CRON_TZ=UTC 0 0 2 * * *", "must not name a time zone: schedules are UTC"},
		{"CRON_TZ=UTC", "must not name a time zone: schedules are UTC"},
		{"@daily", "must not be a descriptor"},
		{"@every 1h", "must not be a descriptor"},
		{"0 2 * * *", "has 5 of six fields"},
		{"0 0 2 * * * *", "has 7 of six fields"},
		{"0 0 0 31 2 *", "never fires"},
		{"0 0 0 30 feb *", "never fires"},
		{"0 0 0 * * 7", "is not a schedule: end of range (7) above maximum (6): 7"},
		{"0 0 0 L * *", "is not a schedule: failed to parse int from L"},
		{"60 0 0 * * *", "is not a schedule: end of range (60) above maximum (59): 60"},
		{"0 0 0 0 * *", "is not a schedule: beginning of range (0) below minimum (1): 0"},
		{"0 */0 * * * *", "is not a schedule: step of range should be a positive number: */0"},
		{"0 0 0 * * FRI-MON", "is not a schedule: beginning of range (5) beyond end of range (1): FRI-MON"},
	} {
		if _, err := ParseCron(tt.spec); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("ParseCron(%q): %v; want %q", tt.spec, err, tt.want)
		}
	}
}

// FuzzParseCron proves that whatever is accepted has a first tick.
func FuzzParseCron(f *testing.F) {
	for _, s := range []string{"* * * * * *", "0 0 0 31 2 *", "TZ= 0 0 0 0 0 0", "@", "0 0 0 ? jan MON-FRI/2", "*/9223372036854775807 * * * * *"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		s, err := ParseCron(spec)
		if err == nil && s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
			t.Errorf("%q never fires, but is accepted", spec)
		}
	})
}
