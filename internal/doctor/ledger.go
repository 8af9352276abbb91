package doctor

import (
	"context"
	"os"
	"path/filepath"

	"banger/internal/atomicfile"
	"banger/internal/dirs"
	"banger/internal/model"
)

// Rows are what an installation's database promises.
type Rows struct {
	VMs        []model.VM
	Images     []model.Image
	Kernels    []model.Kernel
	Operations []model.Operation // those that a daemon is at

	Instance model.InstanceID // whose rows these are
	// Alone says that no other installation has the data and cache directories. Otherwise what may be another one's there
	// is no leak.
	Alone bool
}

// Leaker is the optional power of a driver to tell what of it is on the host that none of the VMs accounts for, and what
// of a VM is not there. It changes nothing, and what is not at rest accounts for whatever it has.
type Leaker interface {
	Leaks(ctx context.Context, vms []model.VM) ([]model.Leak, error)
}

// Ledger compares both ways what an installation's rows promise with what the host holds: processes that hold a VM's
// lock, sockets and files below the VMs' directory, what a daemon leaves behind; images and kernels with their names, what
// is being made of them, and the programs that make it; temporary files, locks, rows without files; and what those of the
// drivers tell that are Leakers. It changes nothing. Rows that are not at rest, and operations that run, are work in
// progress and account for whatever they have.
func Ledger(ctx context.Context, d dirs.Dirs, r Rows, drivers ...any) ([]model.Leak, error) {
	rows := map[model.VMID]model.VM{}
	for _, v := range r.VMs {
		rows[v.ID] = v
	}
	leaks := rowsWithoutFiles(d, r.VMs)
	looks := []func() ([]model.Leak, error){
		func() ([]model.Leak, error) { return lockHolders(d, rows) },
		func() ([]model.Leak, error) { return daemonLeaks(d) },
		func() ([]model.Leak, error) { return filesWithoutRows(d, rows) },
		func() ([]model.Leak, error) { return blobLeaks(d, r) },
		func() ([]model.Leak, error) { return buildLeaks(d, r) },
		func() ([]model.Leak, error) { return temporaries(d.State, d.Cache, filepath.Join(d.Cache, "probe")) },
	}
	for _, driver := range drivers {
		if l, ok := driver.(Leaker); ok {
			looks = append(looks, func() ([]model.Leak, error) { return l.Leaks(ctx, r.VMs) })
		}
	}
	for _, look := range looks {
		found, err := look()
		if err != nil {
			return nil, err
		}
		leaks = append(leaks, found...)
	}
	return leaks, nil
}

// temporaries lists what was written aside in directories and never took its name.
func temporaries(dirs ...string) ([]model.Leak, error) {
	var leaks []model.Leak
	for _, dir := range dirs {
		entries, err := entriesOf(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if atomicfile.IsTemp(e.Name()) {
				leaks = append(leaks, model.Leak{Kind: "file", What: filepath.Join(dir, e.Name()), Why: unfinished})
			}
		}
	}
	return leaks, nil
}

const unfinished = "was being written when something ended"

// entriesOf lists a directory; a missing one is empty.
func entriesOf(dir string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	return entries, err
}
