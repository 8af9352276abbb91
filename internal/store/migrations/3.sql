-- Projects that were copied into VMs, one a VM. Trees are names in the git store of the VM's directory.

CREATE TABLE workspaces (
    vm            TEXT    NOT NULL PRIMARY KEY REFERENCES vms (id) ON DELETE CASCADE,
    host_path     TEXT    NOT NULL,
    guest_path    TEXT    NOT NULL,
    options       TEXT    NOT NULL,          -- model.WorkspaceOptions as JSON
    format        TEXT    NOT NULL CHECK (format IN ('sha1', 'sha256')),
    base_tree     TEXT    NOT NULL,          -- what later comparisons are made with
    undo_tree     TEXT    NOT NULL DEFAULT '', -- what an undo goes to; '' when there is nothing to undo
    exported_tree TEXT    NOT NULL DEFAULT '', -- the guest's state that the user has a patch of
    guest_commit  TEXT    NOT NULL,
    branch        TEXT    NOT NULL,
    host_head     TEXT    NOT NULL,
    fingerprint   TEXT    NOT NULL,          -- of the host's files at the last copy or apply
    files         INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    copied_at     INTEGER NOT NULL,
    exported_at   INTEGER NOT NULL DEFAULT 0,
    applied_at    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
