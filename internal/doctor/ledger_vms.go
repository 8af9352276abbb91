package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"banger/internal/atomicfile"
	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/workdisk"
)

func rowsWithoutFiles(d dirs.Dirs, vms []model.VM) []model.Leak {
	var leaks []model.Leak
	for _, v := range vms {
		if !v.State.AtRest() {
			continue
		}
		needed := []string{d.VM(v.ID)}
		if v.State != model.StateFailed { // what it failed for may be this
			needed = append(needed, filepath.Join(d.VM(v.ID), workdisk.File))
		}
		for _, path := range needed {
			if _, err := os.Lstat(path); err != nil {
				leaks = append(leaks, model.Leak{Kind: "row", What: string(v.ID), Why: "is of " + v.Name + ", whose " + path + " is gone"})
				break
			}
		}
		_, err := os.Lstat(filepath.Join(d.VM(v.ID), "handles.json"))
		if has := err == nil; has != v.State.Lives() {
			leaks = append(leaks, model.Leak{Kind: "handles", What: string(v.ID), Why: fmt.Sprintf("handles.json exists: %t, and the VM is %s", has, v.State)})
		}
	}
	return leaks
}

// lockHolders looks for processes whose standard input is the lock of a VM of this installation: every VMM's is.
func lockHolders(d dirs.Dirs, rows map[model.VMID]model.VM) ([]model.Leak, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	vms := resolved(d.VMs())
	var leaks []model.Leak
	holders := map[model.VMID]int{}
	for _, p := range entries {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		stdin, err := os.Readlink(filepath.Join("/proc", p.Name(), "fd/0"))
		if err != nil {
			continue // another user's, or gone
		}
		rest, ours := strings.CutPrefix(strings.TrimSuffix(stdin, " (deleted)"), vms+"/")
		dir, file := filepath.Split(rest)
		if !ours || file != "vmm.lock" {
			continue
		}
		id := model.VMID(filepath.Clean(dir))
		v, known := rows[id]
		leak := model.Leak{Kind: "process", What: p.Name()}
		switch holders[id]++; {
		case !known:
			leak.Why = "is the VMM of " + string(id) + ", which has no row"
		case !v.State.Lives():
			leak.Why = "is the VMM of " + v.Name + ", which is " + v.State.String()
		case holders[id] > 1:
			leak.Why = "is a second VMM of " + v.Name
		default:
			continue
		}
		leaks = append(leaks, leak)
	}
	for id, v := range rows {
		if (v.State == model.StateRunning || v.State == model.StatePaused) && holders[id] == 0 {
			// One of another user's, as in a jail, cannot be looked at; that it has the lock can be seen.
			if locker, err := procs.LockHolder(filepath.Join(d.VM(id), "vmm.lock")); err != nil || locker != 0 {
				continue
			}
			leaks = append(leaks, model.Leak{Kind: "row", What: string(id), Why: "is of " + v.Name + ", which is " + v.State.String() + " and has no VMM"})
		}
	}
	return leaks, nil
}

// resolved is a directory's path as the kernel tells it of open files: without symbolic links.
func resolved(dir string) string {
	for rest := ""; ; {
		if path, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(path, rest)
		}
		if dir == filepath.Dir(dir) {
			return filepath.Join(dir, rest)
		}
		rest = filepath.Join(filepath.Base(dir), rest)
		dir = filepath.Dir(dir)
	}
}

// filesWithoutRows looks at the VMs' directories. One whose name is no VM's id is not ours: no daemon touches it.
func filesWithoutRows(d dirs.Dirs, rows map[model.VMID]model.VM) ([]model.Leak, error) {
	entries, err := entriesOf(d.VMs())
	if err != nil {
		return nil, err
	}
	var leaks []model.Leak
	for _, e := range entries {
		if !model.VMID(e.Name()).Valid() {
			continue
		}
		path := filepath.Join(d.VMs(), e.Name())
		v, known := rows[model.VMID(e.Name())]
		if !known {
			leaks = append(leaks, model.Leak{Kind: "directory", What: path, Why: "belongs to no VM"})
			continue
		}
		files, err := entriesOf(path)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			inside := filepath.Join(path, f.Name())
			if atomicfile.IsTemp(f.Name()) && v.State.AtRest() {
				leaks = append(leaks, model.Leak{Kind: "file", What: inside, Why: unfinished})
			}
			if f.Type()&os.ModeSocket != 0 && !v.State.Lives() {
				leaks = append(leaks, model.Leak{Kind: "socket", What: inside, Why: "belongs to " + v.Name + ", which is " + v.State.String()})
			}
		}
	}
	return leaks, nil
}
