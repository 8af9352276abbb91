package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"banger/internal/procs"
	"banger/internal/vmm"
)

// tellOfVMs logs what the script's VMs are at, for a command that hangs: that is seldom, and seen once. It asks of each
// VMM's threads where they wait and whether they use a processor, and of the guest, if its agent answers, the kernel's own
// files, for which an image needs no program.
func tellOfVMs(ts *testscript.TestScript) {
	state := ts.Getenv("STATE")
	vms, _ := os.ReadDir(filepath.Join(state, "vms"))
	for _, e := range vms {
		id := e.Name()
		p, err := procs.Holder(filepath.Join(state, "vms", id, vmm.LockName))
		if err != nil {
			continue // it does not run
		}
		defer p.Close()
		pid := p.Process().PID
		before := threads(pid)
		time.Sleep(time.Second)
		ts.Logf("VM %s, VMM %d, threads now and a second ago:\n%s\n%s", id, pid, threads(pid), before)
		for _, file := range []string{"loadavg", "interrupts", "diskstats", "meminfo", "vmstat"} {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			out, err := command(ctx, ts, []string{"banger", "cp", id + ":/proc/" + file, "-"}).CombinedOutput()
			cancel()
			ts.Logf("the guest's /proc/%s (%v):\n%s", file, err, strings.ReplaceAll(string(out), "\x00", ""))
			if err != nil {
				break // it will not answer the next one, either
			}
		}
		ts.Logf("its console:\n%s", lastLines(filepath.Join(state, "vms", id, "console.log")))
	}
	ts.Logf("the daemon's log:\n%s", lastLines(filepath.Join(state, "bangerd.log")))
}

// threads is a line for each thread of a process: its name, what it waits for in the kernel, and its state and processor
// times as in proc(5).
func threads(pid int) string {
	var all strings.Builder
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		stat, _ := os.ReadFile(filepath.Join(task, "stat"))
		waits, _ := os.ReadFile(filepath.Join(task, "wchan"))
		_, rest, _ := strings.Cut(string(stat), "(")
		name, rest, _ := strings.Cut(rest, ") ")
		if f := strings.Fields(rest); len(f) > 12 {
			fmt.Fprintf(&all, "  %s: waits in %s, state %s, user %s, system %s\n", name, waits, f[0], f[11], f[12])
		}
	}
	return all.String()
}
