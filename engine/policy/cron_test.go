package policy

import (
	"math/rand/v2"
	"strconv"
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

// TestCloser: what comes soon after another tick is found wherever it is: within a
// minute, over a full hour, over midnight, over the end of a month, in leap years.
func TestCloser(t *testing.T) {
	for _, tt := range []struct {
		spec        string
		least, want time.Duration // want 0: nothing is closer
	}{
		{"* * * * * *", time.Second, 0},
		{"* * * * * *", 2 * time.Second, time.Second},
		{"0 * * * * *", time.Minute, 0},
		{"17 * * * * *", time.Minute, 0},
		{"*/30 * * * * *", time.Minute, 30 * time.Second},
		{"0,59 0 0 1 1 *", time.Minute, 59 * time.Second},
		{"59,0 0,59 * * * *", time.Minute, 59 * time.Second},
		{"0 * * * * *", time.Minute + time.Second, time.Minute},
		{"0 0,59 * * * *", 5 * time.Minute, time.Minute},
		{"0 */5 * * * *", 5 * time.Minute, 0},
		{"0 */7 * * * *", 7 * time.Minute, 4 * time.Minute}, // :56 and :00
		{"0 0 2 * * *", 24 * time.Hour, 0},
		{"0 0 0,23 * * *", 2 * time.Hour, time.Hour},
		{"0 0 0,23 1 * *", 2 * time.Hour, 0},
		{"0 0 0,23 1,31 * *", 2 * time.Hour, time.Hour},
		{"0 0 0,23 1,31 1 *", 2 * time.Hour, 0},
		{"0 0 0,23 1,31 1,12 *", 2 * time.Hour, time.Hour},
		{"0 0 0,23 29 2 *", 2 * time.Hour, 0},
		{"0 0 0,23 28,29 2 *", 2 * time.Hour, time.Hour},
		{"0 0 0,23 1,29 2,3 *", 2 * time.Hour, time.Hour},
		{"0 0 0,23 * * MON,WED", 2 * time.Hour, 0},
		{"0 0 0,23 * * SUN,SAT", 2 * time.Hour, time.Hour},
		{"0 0 0,23 13 11 FRI", 2 * time.Hour, time.Hour}, // or Friday: the 13th may be a Thursday
	} {
		s, err := ParseCron(tt.spec)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Closer(tt.least); got != tt.want || ok != (tt.want > 0) {
			t.Errorf("%q has ticks %s after others, %v; want %s below %s", tt.spec, got, ok, tt.want, tt.least)
		}
	}
}

// TestCloserByCounting compares with what a walk over many ticks finds.
func TestCloserByCounting(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	some := func(from, n int) string {
		if random.IntN(4) == 0 {
			return "*"
		}
		list := []string{}
		for range 1 + random.IntN(3) {
			list = append(list, strconv.Itoa(from+random.IntN(n)))
		}
		return strings.Join(list, ",")
	}
	for range 150 {
		spec := strings.Join([]string{some(0, 60), some(0, 60), some(0, 24), some(1, 31), some(1, 12), some(0, 7)}, " ")
		s, err := ParseCron(spec)
		if err != nil {
			continue // the 31st of February
		}
		shortest := 400 * 24 * time.Hour
		for last, n := s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), 0; n < 1000; n++ {
			next := s.Next(last)
			if next.IsZero() {
				break
			}
			shortest, last = min(shortest, next.Sub(last)), next
		}
		for _, least := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
			if gap, ok := s.Closer(least); shortest < least && !ok || ok && gap >= least {
				t.Errorf("%q has ticks %s apart, and Closer(%s) says %s, %v", spec, shortest, least, gap, ok)
			}
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
