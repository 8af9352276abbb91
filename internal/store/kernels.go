package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"banger/internal/model"
)

const kernelColumns = `digest, name, arch, release, source, early_modules, size_bytes, created_at`

func scanKernel(row scanner) (model.Kernel, error) {
	var kernel model.Kernel
	var modules list
	var created int64
	err := row.Scan(&kernel.Digest, &kernel.Name, &kernel.Arch, &kernel.Release, &kernel.Source, &modules, &kernel.SizeBytes, &created)
	kernel.EarlyModules, kernel.CreatedAt = modules, fromNanos(created)
	return kernel, err
}

// Kernels returns all kernels, by name; those whose name a newer one has taken come first, with none.
func (s *Store) Kernels(ctx context.Context) ([]model.Kernel, error) {
	kernels, err := collect(ctx, s.db, scanKernel, `SELECT `+kernelColumns+` FROM kernels ORDER BY name, digest`)
	return kernels, failed(err, "read the kernels")
}

// InsertKernel adds a kernel, or describes one of the same digest anew. Another kernel of its name loses the name: it
// stays, nameless, for the VMs that use it.
func (s *Store) InsertKernel(ctx context.Context, kernel model.Kernel) error {
	err := s.write(ctx, ordinary, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE kernels SET name = '' WHERE name = ? AND digest <> ?`, kernel.Name, kernel.Digest); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO kernels (`+kernelColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (digest) DO UPDATE SET name = excluded.name, arch = excluded.arch, release = excluded.release,
			source = excluded.source, early_modules = excluded.early_modules, size_bytes = excluded.size_bytes,
			created_at = excluded.created_at`,
			kernel.Digest, kernel.Name, kernel.Arch, kernel.Release, kernel.Source, encode(kernel.EarlyModules),
			kernel.SizeBytes, toNanos(kernel.CreatedAt))
		return err
	})
	return failed(err, "record kernel %q", kernel.Name)
}

// DeleteKernel forgets a kernel. One that is not there is success; one that VMs use is ErrState, which names them.
func (s *Store) DeleteKernel(ctx context.Context, digest model.Digest) error {
	err := s.write(ctx, essential, func(tx *sql.Tx) error { return deleteUnused(ctx, tx, "kernel", digest) })
	return failed(err, "delete the row of kernel %s", digest.Short())
}

// maxNamed is how many VMs an error names before it only counts.
const maxNamed = 5

// deleteUnused deletes an image or a kernel (noun is also its table's and its column's name) unless a VM uses it. The
// foreign key holds the same; the look before it gives the names.
func deleteUnused(ctx context.Context, tx *sql.Tx, noun string, digest model.Digest) error {
	users, err := collect(ctx, tx, func(row scanner) (name string, err error) { return name, row.Scan(&name) },
		fmt.Sprintf(`SELECT name FROM vms WHERE %s = ? ORDER BY created_at, slot`, noun), digest)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		named := strings.Join(users[:min(maxNamed, len(users))], " ")
		rest := ""
		if more := len(users) - maxNamed; more > 0 {
			rest = fmt.Sprintf(" and %d more", more)
		}
		return model.Errorf(model.ErrState, "cannot delete %s %s: VMs use it (%s%s); delete them first: banger vm delete %s", noun, digest.Short(), named, rest, named)
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf(`DELETE FROM %ss WHERE digest = ?`, noun), digest)
	return err
}
