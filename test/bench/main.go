// Command bench measures banger against its floors: what the same work costs without banger.
//
// Floor and product are measured in turn, in pairs, so that a busy host slows both. Each row has a state directory of its
// own; programs are copied first, so that a build meanwhile changes nothing. Images and kernels are shared with the
// scenarios of test/e2e and built when they are missing.
//
// It is built without cgo, since it runs itself in guests.
//
//	make bench                       all rows
//	make bench BENCH=run,exec        some
//	make bench BENCH=work            those of a group
//	make bench BENCH_PAIRS=30        more pairs than 15
//	CGO_ENABLED=0 go run ./test/bench -write docs/performance.md
//
// With -write the tables of the groups that were measured whole are replaced.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// Defaults: pairs of floor and product, and boots beside hogs.
const (
	defaultPairs = 15
	defaultBoots = 50
)

func main() {
	if len(os.Args) > 1 {
		if role, ok := roles()[os.Args[1]]; ok {
			end(role(os.Args[2:]))
		}
	}
	write := flag.String("write", "", "a document in which the tables of whole groups are replaced by this run's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *write)
	stop()
	end(err)
}

// roles are what this program is when it runs beside itself or in a guest.
func roles() map[string]func(args []string) error {
	return map[string]func(args []string) error{hogArgument: hog, peerArgument: peer, wireArgument: wire, bridgeArgument: attachAndDetach}
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, document string) error {
	groups, err := choose(os.Getenv("BENCH"))
	if err != nil {
		return err
	}
	if document != "" {
		if err := publishable(document, groups); err != nil {
			return err
		}
	}
	h, err := newHost()
	if err != nil {
		return err
	}
	defer h.close()
	s := &session{host: h, pairs: number("BENCH_PAIRS", defaultPairs), boots: number("BENCH_BOOTS", defaultBoots)}
	conditions, err := h.conditions(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		results, err := g.measure(ctx, s)
		if err != nil {
			return err
		}
		text := report(conditions, results)
		fmt.Printf("%s\n%s\n%s\n", g.beginMark(), text, g.endMark())
		if document != "" && g.whole {
			if err := publish(document, g, text); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g group) measure(ctx context.Context, s *session) ([]result, error) {
	var results []result
	for _, r := range g.rows {
		fmt.Fprintf(os.Stderr, "bench: %s\n", r.name)
		begun := time.Now()
		made, err := r.run(ctx, s)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot measure %s: %w", r.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", r.name, time.Since(begun).Round(time.Second))
		results = append(results, made...)
	}
	return results, nil
}

// number reads a positive number from the environment.
func number(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil && n > 0 {
		return n
	}
	return otherwise
}
