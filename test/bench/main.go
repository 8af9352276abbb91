// Command bench measures banger against its floors: what the same work costs without banger.
//
// Floor and product are measured in turn, in pairs, so that a busy host slows both. Each row has a state directory of its
// own; programs are copied first, so that a build meanwhile changes nothing. Images and kernels are shared with the
// scenarios of test/e2e and built when they are missing.
//
// It is built without cgo, since it runs itself in guests.
//
//	make bench                       all rows that this host can have
//	make bench BENCH=run,exec        some
//	make bench BENCH=work            those of a group
//	make bench BENCH=lab             those that need root and KVM: in the lab, which is booted for them
//	make bench BENCH_PAIRS=30        more pairs than 15
//	CGO_ENABLED=0 go run ./test/bench -write docs/performance.md
//
// With -write the tables of the groups that were measured whole are replaced.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// Defaults: pairs of floor and product, the same in the lab, where all takes longer, and boots beside hogs.
const (
	defaultPairs = 15
	labPairs     = 7
	defaultBoots = 50
)

func main() {
	if len(os.Args) > 1 {
		if role, ok := roles()[os.Args[1]]; ok {
			end(role(os.Args[2:]))
		}
	}
	write := flag.String("write", "", "a document in which the tables of whole groups are replaced by this run's")
	here := flag.Bool("here", false, "this is the lab, or as good as one: measure what else would be measured there")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *write, *here)
	stop()
	end(err)
}

// roles are what this program is when it runs beside itself or in a guest.
func roles() map[string]func(args []string) error {
	return map[string]func(args []string) error{hogArgument: hog, peerArgument: peer, wireArgument: wire, bridgeArgument: attachAndDetach, snapshotArgument: attachAsTold}
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, document string, here bool) error {
	groups, err := choose(os.Getenv("BENCH"))
	if err != nil {
		return err
	}
	if document != "" {
		if err := publishable(document, groups); err != nil {
			return err
		}
	}
	var on onHost
	defer on.close()
	for _, g := range groups {
		measure := on.table
		if g.lab && !here {
			measure = inLab
		}
		text, err := measure(ctx, g)
		if text != "" { // what was measured, whatever was not
			fmt.Printf("%s\n%s\n%s\n", g.beginMark(), text, g.endMark())
		}
		if err != nil {
			return err
		}
		if document != "" && g.whole {
			if err := publish(document, g, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// onHost measures groups where it runs.
type onHost struct {
	session    *session // nil before the first group
	conditions []string
}

func (o *onHost) table(ctx context.Context, g group) (text string, err error) {
	if o.session == nil {
		h, err := newHost()
		if err != nil {
			return "", err
		}
		o.session = &session{host: h, pairs: number("BENCH_PAIRS", g.pairs()), boots: number("BENCH_BOOTS", defaultBoots)}
		if o.conditions, err = h.conditions(ctx, g); err != nil {
			return "", err
		}
	}
	results, err := g.measure(ctx, o.session)
	if len(results) == 0 {
		return "", err
	}
	return report(o.conditions, results), err
}

func (o *onHost) close() {
	if o.session != nil {
		o.session.close()
	}
}

// measure measures the group's rows, those after one that cannot be measured, too.
func (g group) measure(ctx context.Context, s *session) (results []result, err error) {
	for _, r := range g.rows {
		fmt.Fprintf(os.Stderr, "bench: %s\n", r.name)
		begun := time.Now()
		made, rowErr := r.run(ctx, s)
		if ctx.Err() != nil {
			return results, errors.Join(err, context.Cause(ctx))
		}
		if rowErr != nil {
			err = errors.Join(err, fmt.Errorf("cannot measure %s: %w", r.name, rowErr))
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", r.name, time.Since(begun).Round(time.Second))
		results = append(results, made...)
	}
	return results, err
}

// number reads a positive number from the environment.
func number(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil && n > 0 {
		return n
	}
	return otherwise
}
