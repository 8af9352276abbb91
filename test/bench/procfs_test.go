package main

import (
	"io"
	"os"
	"os/exec"
	"testing"
)

// Both clocks tell the same of another process, one in whole ticks.
func TestExactCPUTime(t *testing.T) {
	t.Parallel()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), spinning+"=1")
	if _, err := child.StdinPipe(); err != nil { // it rests until its end
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has spun, and rests
		t.Fatal(err)
	}
	exact, err := exactCPUTime(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	coarse, err := cpuTime(child.Process.Pid)
	if d := exact - coarse; err != nil || exact < 5*tick || d < -tick || d > 3*tick {
		t.Errorf("%s, and in ticks %s: %v", exact, coarse, err)
	}
}

const spinning = "BANGER_BENCH_TEST_SPINS"

// TestMain runs the tests, or uses some time of a processor, says so and rests.
func TestMain(m *testing.M) {
	if os.Getenv(spinning) == "" {
		os.Exit(m.Run())
	}
	for {
		if used, err := cpuTime(os.Getpid()); err != nil || used >= 10*tick {
			break
		}
	}
	os.Stdout.WriteString("x")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
