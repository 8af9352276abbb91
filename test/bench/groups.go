package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// group is a table of its own, which can be measured and published without the others.
type group struct {
	name  string // in BENCH and in the document's marks
	rows  []row
	whole bool // none of its rows was left out
	lab   bool // it needs root and KVM, and is measured in the lab, if it is asked for
}

// row is what is measured at a time: one line of the table, or some that share their VMs.
type row struct {
	name string // in BENCH
	run  func(context.Context, *session) ([]result, error)
}

func groups() []group {
	return []group{
		{name: "vm", rows: []row{
			{"run", line(benchRun)},
			{"exec", line(benchExec)},
			{"list", line(benchList)},
			{"delete", line(benchDelete)},
			{"idle", line(benchIdle)},
			{"memory", line(benchMemory)},
			{"hog", line(benchHog)},
		}},
		{name: "work", rows: []row{
			{"copy", line(benchCopy)},
			{"copysmall", line(benchCopySmall)},
			{"network", benchNetwork},
			{"latency", benchLatency},
			{"watching", benchWatching},
			{"convert", benchConvert},
			{"pullagain", line(benchPullAgain)},
		}},
		{name: "disk", rows: []row{
			{"overlay", line(benchOverlay)},
			{"overlayread", line(benchOverlayRead)},
			{"overlaycache", line(benchOverlayCache)},
		}},
		{name: "host", rows: []row{
			{"bridge", benchBridge},
		}},
		{name: "lab", lab: true, rows: []row{
			{"firecracker", line(benchFirecracker)},
			{"jailed", line(benchJailed)},
			{"snapshot", benchSnapshot},
		}},
	}
}

// pairs is how many are measured when nothing is said.
func (g group) pairs() int {
	if g.lab {
		return labPairs
	}
	return defaultPairs
}

// line is a row of one line.
func line(run func(context.Context, *session) (result, error)) func(context.Context, *session) ([]result, error) {
	return func(ctx context.Context, s *session) ([]result, error) {
		r, err := run(ctx, s)
		return []result{r}, err
	}
}

// choose returns the groups with what BENCH names of them, rows or whole groups; "" is all but what takes the lab.
func choose(names string) ([]group, error) {
	var chosen []group
	wanted := map[string]bool{}
	if names != "" {
		for name := range strings.SplitSeq(names, ",") {
			wanted[name] = false
		}
	}
	for _, g := range groups() {
		all := len(wanted) == 0 && !g.lab || known(wanted, g.name)
		rows := slices.DeleteFunc(slices.Clone(g.rows), func(r row) bool { return !known(wanted, r.name) && !all })
		if len(rows) > 0 {
			chosen = append(chosen, group{name: g.name, rows: rows, whole: len(rows) == len(g.rows), lab: g.lab})
		}
	}
	for name, found := range wanted {
		if !found {
			return nil, fmt.Errorf("there is no row %q; these are there: %s", name, strings.Join(all(), ", "))
		}
	}
	return chosen, nil
}

// known notes that a wanted name exists.
func known(wanted map[string]bool, name string) bool {
	if _, ok := wanted[name]; !ok {
		return false
	}
	wanted[name] = true
	return true
}

// all lists what BENCH can name.
func all() []string {
	var names []string
	for _, g := range groups() {
		for _, r := range g.rows {
			names = append(names, r.name)
		}
	}
	for _, g := range groups() {
		names = append(names, g.name+" (a group)")
	}
	return names
}
