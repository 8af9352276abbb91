package tarfilter

import "time"

const maxTimestamp = 1 << 33 // the year 2242, within what ext4 holds

// Time keeps a time within what ext4 holds: the writer would store the years before 1970 as ones after 2378.
func Time(t time.Time) time.Time {
	if s := t.Unix(); s < 0 || s > maxTimestamp {
		return time.Unix(min(max(s, 0), maxTimestamp), 0)
	}
	return t
}
