package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cleanUp deletes what the script's daemon still has, stops the daemon, and fails the test for anything left over.
func cleanUp(tb testing.TB, h Host, env *testscript.Env, dir string) {
	for _, bg := range env.Values[backgroundKey{}].(backgrounds) {
		bg.stop()
	}
	if _, err := os.Stat(env.Getenv("STATE")); err == nil {
		if err := deleteAll(h, env.Vars); err != nil {
			tb.Errorf("cannot clean up: %v\n%s", err, lastLines(filepath.Join(env.Getenv("STATE"), "bangerd.log")))
		}
	}
	for _, p := range processesOf(dir) {
		if !p.waitGone(patient(10 * time.Second)) {
			tb.Errorf("left behind: process %d: %s", p.pid, p.cmdline)
			p.kill()
		}
	}
	// netd shows neither its environment nor its directory: it is known by its lock.
	if pid := lockHolder(filepath.Join(env.Getenv("STATE"), "netd.lock")); pid != 0 {
		if p, err := openProcess(pid); err == nil && !p.waitGone(patient(30*time.Second)) {
			tb.Errorf("left behind: banger-netd, process %d", pid)
			p.kill()
		}
	}
	for _, file := range vmFiles(dir) {
		tb.Errorf("left behind: %s", file)
	}
}

func deleteAll(h Host, vars []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patient(3*time.Minute))
	defer cancel()
	banger := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(h.Bin, "banger"), args...)
		cmd.Env = vars
		var out, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("banger %s: %w: %s", strings.Join(args, " "), err, complaint.Bytes())
		}
		return out.Bytes(), nil
	}
	out, err := banger("vm", "list", "--format", "json")
	if err != nil {
		return err
	}
	var vms []struct{ ID string }
	if err := json.Unmarshal(out, &vms); err != nil {
		return fmt.Errorf("banger vm list: %w", err)
	}
	if len(vms) > 0 {
		args := []string{"vm", "delete", "-f"}
		for _, vm := range vms {
			args = append(args, vm.ID)
		}
		if _, err := banger(args...); err != nil {
			return err
		}
	}
	_, err = banger("daemon", "stop")
	return err
}

func lastLines(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4000):])
}

// processesOf lists the processes, other than our own children, that were started for the script in dir: it stands in
// their arguments, environment or working directory.
func processesOf(dir string) []process {
	var found []process
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || parentOf(pid) == os.Getpid() {
			continue
		}
		proc := filepath.Join("/proc", entry.Name())
		cmdline, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(proc, "environ"))
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
		all := string(cmdline) + "\x00" + string(environ) + "\x00" + cwd + "\x00"
		if !strings.Contains(all, dir+"/") && !strings.Contains(all, dir+"\x00") { // another's may begin with the same name
			continue
		}
		if p, err := openProcess(pid); err == nil {
			p.cmdline = strings.ReplaceAll(string(cmdline), "\x00", " ")
			found = append(found, p)
		}
	}
	return found
}

func parentOf(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

// vmFiles lists what lies in the VMs' directories of any state directory under dir.
func vmFiles(dir string) []string {
	var found []string
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if vms := filepath.Dir(path); err == nil && filepath.Base(vms) == "vms" && filepath.Base(filepath.Dir(vms)) == "banger" {
			found = append(found, path)
			return filepath.SkipDir
		}
		return nil // what cannot be read is no file of a VM
	})
	return found
}
