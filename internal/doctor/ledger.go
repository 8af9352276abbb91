// Package doctor looks at a host and says what it finds: here, what of banger's is left on it that no VM accounts for.
package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"banger/internal/atomicfile"
	"banger/internal/dirs"
	"banger/internal/model"
)

// Rows are what an installation's database promises.
type Rows struct {
	VMs        []model.VM
	Images     []model.Image
	Kernels    []model.Kernel
	Operations []model.Operation // those that run
}

// Leak is one thing that the ledger cannot account for.
type Leak struct {
	Kind string // "process", "socket", "file", "row", "handles", "lock", "name"
	What string // the path, or the pid
	Why  string
}

func (l Leak) String() string { return fmt.Sprintf("%s %s: %s", l.Kind, l.What, l.Why) }

// Ledger compares both ways what an installation's rows promise with what the host holds: processes that hold a VM's
// lock, the network's process, sockets and files below the VMs' directory; images and kernels with their names, what is
// being made of them, and the programs that make it; temporary files, locks, rows without files. It changes nothing. Rows
// that are not at rest, and operations that run, are work in progress and account for whatever they have.
func Ledger(ctx context.Context, d dirs.Dirs, r Rows) ([]Leak, error) {
	rows := map[model.VMID]model.VM{}
	for _, v := range r.VMs {
		rows[v.ID] = v
	}
	leaks := rowsWithoutFiles(d, r.VMs)
	for _, look := range []func() ([]Leak, error){
		func() ([]Leak, error) { return lockHolders(d, rows) },
		func() ([]Leak, error) { return netdLeaks(ctx, d, r.VMs) },
		func() ([]Leak, error) { return filesWithoutRows(d, rows) },
		func() ([]Leak, error) { return blobLeaks(d, r) },
		func() ([]Leak, error) { return buildLeaks(d, r) },
		func() ([]Leak, error) { return temporaries(d.State, d.Cache, filepath.Join(d.Cache, "probe")) },
	} {
		found, err := look()
		if err != nil {
			return nil, err
		}
		leaks = append(leaks, found...)
	}
	return leaks, nil
}

// lives says whether a VM in state s may have a VMM, sockets and handles.
func lives(s model.State) bool {
	return s != model.StateStopped && s != model.StateFailed && s != model.StateCreating
}

func rowsWithoutFiles(d dirs.Dirs, vms []model.VM) []Leak {
	var leaks []Leak
	for _, v := range vms {
		if !v.State.AtRest() {
			continue
		}
		if _, err := os.Stat(d.VM(v.ID)); err != nil {
			leaks = append(leaks, Leak{"row", string(v.ID), "its directory is gone"})
		}
		_, err := os.Lstat(filepath.Join(d.VM(v.ID), "handles.json"))
		if has := err == nil; has != lives(v.State) {
			leaks = append(leaks, Leak{"handles", string(v.ID), fmt.Sprintf("handles.json exists: %t, and the VM is %s", has, v.State)})
		}
	}
	return leaks
}

// lockHolders looks for processes whose standard input is the lock of a VM of this installation: every VMM's is.
func lockHolders(d dirs.Dirs, rows map[model.VMID]model.VM) ([]Leak, error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var leaks []Leak
	holders := map[model.VMID]int{}
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		stdin, err := os.Readlink(filepath.Join("/proc", p.Name(), "fd/0"))
		if err != nil {
			continue // another user's, or gone
		}
		rest, ours := strings.CutPrefix(strings.TrimSuffix(stdin, " (deleted)"), d.VMs()+"/")
		dir, file := filepath.Split(rest)
		if !ours || file != "vmm.lock" {
			continue
		}
		id := model.VMID(filepath.Clean(dir))
		v, known := rows[id]
		switch holders[id]++; {
		case !known:
			leaks = append(leaks, Leak{"process", p.Name(), "is the VMM of " + string(id) + ", which has no row"})
		case !lives(v.State):
			leaks = append(leaks, Leak{"process", p.Name(), "is the VMM of " + v.Name + ", which is " + v.State.String()})
		case holders[id] > 1:
			leaks = append(leaks, Leak{"process", p.Name(), "is a second VMM of " + v.Name})
		}
	}
	for id, v := range rows {
		if (v.State == model.StateRunning || v.State == model.StatePaused) && holders[id] == 0 {
			leaks = append(leaks, Leak{"row", string(id), "is " + v.State.String() + " and has no VMM"})
		}
	}
	return leaks, nil
}

func filesWithoutRows(d dirs.Dirs, rows map[model.VMID]model.VM) ([]Leak, error) {
	entries, err := entriesOf(d.VMs())
	if err != nil {
		return nil, err
	}
	var leaks []Leak
	for _, e := range entries {
		path := filepath.Join(d.VMs(), e.Name())
		v, known := rows[model.VMID(e.Name())]
		if !known {
			leaks = append(leaks, Leak{"file", path, "belongs to no VM"})
			continue
		}
		files, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			inside := filepath.Join(path, f.Name())
			if atomicfile.IsTemp(f.Name()) && v.State.AtRest() {
				leaks = append(leaks, Leak{"file", inside, "was being written when something ended"})
			}
			if f.Type()&os.ModeSocket != 0 && !lives(v.State) {
				leaks = append(leaks, Leak{"socket", inside, "belongs to " + v.Name + ", which is " + v.State.String()})
			}
		}
	}
	return leaks, nil
}

// temporaries lists what was written aside in directories and never took its name.
func temporaries(dirs ...string) ([]Leak, error) {
	var leaks []Leak
	for _, dir := range dirs {
		entries, err := entriesOf(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if atomicfile.IsTemp(e.Name()) {
				leaks = append(leaks, Leak{"file", filepath.Join(dir, e.Name()), "was being written when something ended"})
			}
		}
	}
	return leaks, nil
}

// entriesOf lists a directory; a missing one is empty.
func entriesOf(dir string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	return entries, err
}
