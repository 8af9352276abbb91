package main

import (
	"fmt"
	"slices"
	"time"
)

// pair is one measurement of the product beside its floor, and what the target allows the product.
type pair struct{ floor, product, allowed time.Duration }

func (p pair) ratio() float64      { return float64(p.product) / float64(p.floor) }
func (p pair) over() time.Duration { return p.product - p.allowed }

// median returns the middle one, the upper one of two.
func median[T int64 | float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func each[S, T any](values []S, of func(S) T) []T {
	out := make([]T, 0, len(values))
	for _, v := range values {
		out = append(out, of(v))
	}
	return out
}

// paired makes a line of the table out of pairs.
func paired(what, floor, target string, pairs []pair) result {
	r := beside(what, floor, pairs)
	over := each(pairs, pair.over)
	missed := count(over, func(d time.Duration) bool { return d > 0 })
	r.target = target
	switch {
	case median(over) > 0:
		r.met = fmt.Sprintf("no, by %s; %d of %d pairs did", milliseconds(median(over)), len(over)-missed, len(over))
	case missed > 0:
		r.met = fmt.Sprintf("yes; %d of %d pairs did not", missed, len(over))
	default:
		r.met = fmt.Sprintf("yes, in all of %d pairs", len(over))
	}
	return r
}

// beside is paired without a target.
func beside(what, floor string, pairs []pair) result {
	ratios := each(pairs, pair.ratio)
	return result{
		what: what, floor: floor,
		floorTime: milliseconds(median(each(pairs, func(p pair) time.Duration { return p.floor }))),
		product:   milliseconds(median(each(pairs, func(p pair) time.Duration { return p.product }))),
		median:    fmt.Sprintf("%.2f", median(ratios)),
		worst:     fmt.Sprintf("%.2f", slices.Max(ratios)),
	}
}

func count[T any](values []T, is func(T) bool) int {
	n := 0
	for _, v := range values {
		if is(v) {
			n++
		}
	}
	return n
}

func milliseconds(d time.Duration) string {
	if d < time.Millisecond && d > -time.Millisecond {
		return fmt.Sprintf("%.3f ms", d.Seconds()*1e3)
	}
	if d < 10*time.Millisecond && d > -10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
