package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"banger/internal/atomicfile"
	"banger/internal/procs"
)

// minVersion is the oldest QEMU that has -netdev stream.
const minVersion = "7.2"

// findings are what asking the host costs time for, remembered until the host boots or QEMU is replaced.
type findings struct {
	Key     string `json:"key"`
	Version string `json:"version"`
	NoKVM   string `json:"no_kvm"`
	TSCKHz  int64  `json:"tsc_khz"`
}

func findingsFile(dir string) string { return filepath.Join(dir, "qemu.json") }

// findingsKey changes whenever what was found may no longer be true.
func findingsKey(binary string) (string, error) {
	boot, err := procs.BootID()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return "", err
	}
	// Who may open /dev/kvm can change while the host runs: a user is added to its group.
	kvm := "none"
	if device, err := os.Stat("/dev/kvm"); err == nil {
		st := device.Sys().(*syscall.Stat_t)
		kvm = fmt.Sprint(st.Mode, st.Uid, st.Gid)
	}
	groups, err := os.Getgroups()
	if err != nil {
		return "", err
	}
	return fmt.Sprint(boot, " ", binary, " ", info.Size(), " ", info.ModTime().UnixNano(), " ", kvm, " ", os.Geteuid(), groups), nil
}

func loadFindings(dir, binary string) *findings {
	key, err := findingsKey(binary)
	if err != nil {
		return nil
	}
	data, err := os.ReadFile(findingsFile(dir))
	if err != nil {
		return nil
	}
	var f findings
	if json.Unmarshal(data, &f) != nil || f.Key != key || f.TSCKHz <= 0 {
		return nil
	}
	return &f
}

func (f *findings) save(dir, binary string) error {
	key, err := findingsKey(binary)
	if err != nil {
		return err
	}
	f.Key = key
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(findingsFile(dir), data, 0o600)
}

// askVersion returns the version that the binary tells of itself, such as 7.2.22.
func askVersion(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s does not run: %w; %s", binary, err, installHint)
	}
	_, rest, ok := strings.Cut(string(out), "version ")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return "", fmt.Errorf("%s does not tell its version; %s", binary, installHint)
	}
	return strings.TrimRight(fields[0], ",;"), nil
}

// atLeast compares dotted versions by their first two numbers.
func atLeast(version, least string) bool {
	have, want := majorMinor(version), majorMinor(least)
	return have[0] > want[0] || (have[0] == want[0] && have[1] >= want[1])
}

func majorMinor(version string) (n [2]int) {
	for i, part := range strings.SplitN(version, ".", 3) {
		if i == len(n) {
			break
		}
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789"))]
		n[i], _ = strconv.Atoi(digits)
	}
	return n
}
