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

// conditions says what the numbers depend on.
func (h *host) conditions(ctx context.Context) ([]string, error) {
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
	qemu, err := exec.CommandContext(ctx, "qemu-system-x86_64", "--version").Output()
	if err != nil {
		return nil, err
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(qemu)), "\n")
	load, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	return []string{
		time.Now().UTC().Format("2006-01-02") + ", banger " + status.Version,
		fmt.Sprintf("host: %d cores of %s, Linux %s; load average %s when the run began", runtime.NumCPU(), processor(), firstLine("/proc/sys/kernel/osrelease"), load),
		fmt.Sprintf("VMM: %s, accelerated by %s; guest kernel %s; VMs of the default shape", version, status.Accel, guest),
	}, nil
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
