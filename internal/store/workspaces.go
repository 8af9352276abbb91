package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"banger/internal/model"
)

const workspaceColumns = `vm, host_path, guest_path, options, format, base_tree, undo_tree, exported_tree, guest_commit, branch,
	host_head, fingerprint, files, bytes, copied_at, exported_at, applied_at, clean_at`

func scanWorkspace(row scanner) (model.Workspace, error) {
	var w model.Workspace
	var options []byte
	var copied, exported, applied, clean int64
	err := row.Scan(&w.VM, &w.Host, &w.Guest, &options, &w.Format, &w.BaseTree, &w.UndoTree, &w.ExportedTree, &w.Commit, &w.Branch,
		&w.Head, &w.Fingerprint, &w.Files, &w.Bytes, &copied, &exported, &applied, &clean)
	if err != nil {
		return model.Workspace{}, err
	}
	if err := json.Unmarshal(options, &w.Options); err != nil {
		return model.Workspace{}, model.Errorf(model.ErrCorrupt, "cannot read the workspace of VM %s: its options are damaged (%w)", w.VM, err)
	}
	w.CopiedAt, w.ExportedAt, w.AppliedAt, w.CleanAt = fromNanos(copied), fromNanos(exported), fromNanos(applied), fromNanos(clean)
	return w, nil
}

// CreateWorkspace records a project that was copied into a VM. A VM that has one is ErrExists.
func (s *Store) CreateWorkspace(ctx context.Context, w model.Workspace) error {
	options, err := json.Marshal(w.Options)
	if err != nil {
		return fmt.Errorf("cannot encode a workspace's options: %w", err)
	}
	err = s.write(ctx, ordinary, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO workspaces (`+workspaceColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			w.VM, w.Host, w.Guest, string(options), w.Format, w.BaseTree, w.UndoTree, w.ExportedTree, w.Commit, w.Branch,
			w.Head, w.Fingerprint, w.Files, w.Bytes, toNanos(w.CopiedAt), toNanos(w.ExportedAt), toNanos(w.AppliedAt), toNanos(w.CleanAt))
		return err
	})
	switch {
	case violates(err, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
		return model.Errorf(model.ErrExists, "cannot record the workspace: the VM has one")
	case violates(err, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY):
		return model.Errorf(model.ErrNotFound, "cannot record the workspace: the VM was deleted meanwhile")
	}
	return failed(err, "record the workspace of VM %s", w.VM)
}

// Workspace returns a VM's workspace, or ErrNotFound.
func (s *Store) Workspace(ctx context.Context, id model.VMID) (model.Workspace, error) {
	w, err := scanWorkspace(s.db.QueryRowContext(ctx, `SELECT `+workspaceColumns+` FROM workspaces WHERE vm = ?`, id))
	return w, failed(orNotFound(err, "the VM has no workspace; copy a project in with: banger vm workspace prepare VM PATH"), "read the workspace of VM %s", id)
}

// SetWorkspaceTrees records that the host's files have the tree base now, and where an undo goes. What a stop found was
// relative to another base.
func (s *Store) SetWorkspaceTrees(ctx context.Context, id model.VMID, base, undo, fingerprint string) error {
	return s.updateWorkspace(ctx, id, `base_tree = ?, undo_tree = ?, fingerprint = ?, applied_at = ?, clean_at = 0`, base, undo, fingerprint, toNanos(time.Now()))
}

// SetWorkspaceExported records that the user has a patch of the guest's state.
func (s *Store) SetWorkspaceExported(ctx context.Context, id model.VMID, tree string) error {
	return s.updateWorkspace(ctx, id, `exported_tree = ?, exported_at = ?`, tree, toNanos(time.Now()))
}

// SetWorkspaceClean records that a guest that is being stopped held nothing at that time that was not taken out of the
// tree base. When the base is another one by now, nothing is recorded.
func (s *Store) SetWorkspaceClean(ctx context.Context, id model.VMID, base string, at time.Time) error {
	return s.updateWorkspace(ctx, id, `clean_at = CASE base_tree WHEN ? THEN ? ELSE 0 END`, base, toNanos(at))
}

func (s *Store) updateWorkspace(ctx context.Context, id model.VMID, set string, values ...any) error {
	err := s.write(ctx, essential, func(tx *sql.Tx) error {
		var found model.VMID
		return tx.QueryRowContext(ctx, `UPDATE workspaces SET `+set+` WHERE vm = ? RETURNING vm`, append(values, id)...).Scan(&found)
	})
	return failed(orNotFound(err, "the VM has no workspace any more"), "record a change of the workspace of VM %s", id)
}

// fillWorkspaces adds where the projects of VMs are; where picks them.
func fillWorkspaces(ctx context.Context, q querier, vms []model.VM, where string, args ...any) error {
	type paths struct {
		vm model.VMID
		model.WorkspacePaths
	}
	found, err := collect(ctx, q, func(row scanner) (p paths, err error) {
		return p, row.Scan(&p.vm, &p.Host, &p.Guest)
	}, `SELECT vm, host_path, guest_path FROM workspaces `+where, args...)
	if err != nil || len(found) == 0 {
		return err
	}
	by := map[model.VMID]model.WorkspacePaths{}
	for _, p := range found {
		by[p.vm] = p.WorkspacePaths
	}
	for i := range vms {
		vms[i].Workspace = by[vms[i].ID]
	}
	return nil
}
