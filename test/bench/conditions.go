package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// conditions says what the numbers of a group depend on.
func (h *host) conditions(ctx context.Context, g group) ([]string, error) {
	fmt.Fprintln(os.Stderr, "bench: a first VM; without a built image and kernel in", h.shared, "this takes minutes")
	m, err := h.newHome(ctx)
	if err != nil {
		return nil, err
	}
	defer m.close()
	out, err := m.banger(ctx, "daemon", "status", "--format", "json")
	if err != nil {
		return nil, err
	}
	var status struct{ Version, VMM, Accel string }
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return nil, err
	}
	guest, err := m.banger(ctx, "vm", "run", "--quiet", "--", "uname", "-r")
	if err != nil {
		return nil, err
	}
	vmm, where, shape := "qemu-system-x86_64", "host", "VMs of the default shape"
	if g.lab {
		vmm, where, shape = "firecracker", "lab", "VMs of one processor and else the default shape"
	}
	version, err := exec.CommandContext(ctx, vmm, "--version").Output()
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(version)), "\n")
	return []string{
		time.Now().UTC().Format("2006-01-02") + ", banger " + status.Version,
		where + ": " + machine(),
		fmt.Sprintf("VMM: %s, accelerated by %s; guest kernel %s; %s", first, status.Accel, guest, shape),
	}, nil
}

// machine describes the one that this runs on.
func machine() string {
	load, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	return fmt.Sprintf("%d cores of %s, Linux %s; load average %s when the run began", runtime.NumCPU(), processor(), firstLine("/proc/sys/kernel/osrelease"), load)
}

func processor() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "an unknown processor"
	}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "an unnamed processor"
}

func firstLine(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	return line
}
