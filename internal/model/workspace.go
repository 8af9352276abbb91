package model

import "time"

// WorkspaceOptions say what of a project goes into a guest, and as what.
type WorkspaceOptions struct {
	IncludeUntracked bool   `json:"include_untracked,omitempty"` // files that git does not track and does not ignore
	IncludeSecrets   bool   `json:"include_secrets,omitempty"`   // files that look like credentials
	Branch           string `json:"branch,omitempty"`            // of the guest; empty keeps the host's
	From             string `json:"from,omitempty"`              // revision whose files go in, in place of the work tree's
	History          int    `json:"history,omitempty"`           // commits deep; 0 is 1, FullHistory all of it
}

// FullHistory is a History without an end.
const FullHistory = -1

// WorkspaceSpec is a project to copy into a VM.
type WorkspaceSpec struct {
	Path    string // absolute, of the host
	At      string // absolute, of the guest; "" for the project's name in /root
	Options WorkspaceOptions
}

// WorkspacePaths are where a project is; both are "" for a VM without one.
type WorkspacePaths struct{ Host, Guest string }

// Workspace is a project that was copied into a VM. Its trees are names in the git store of the VM's directory.
type Workspace struct {
	VM           VMID
	Host         string // the project's directory
	Guest        string // where it is in the guest
	Options      WorkspaceOptions
	Format       string // of git's names: sha1 or sha256
	BaseTree     string // what later comparisons are made with
	UndoTree     string // what an undo goes to, or ""
	ExportedTree string // the guest's state that the user has a patch of, or ""
	Commit       string // that the guest's git was at, or ""
	Branch       string // likewise
	Head         string // the host's commit at the copy, or ""
	Fingerprint  string // of the host's files at the last copy or apply, or ""
	Files        int
	Bytes        int64
	CopiedAt     time.Time
	ExportedAt   time.Time // zero if never
	AppliedAt    time.Time // zero if never
	CleanAt      time.Time // when a stop found nothing that was not taken out; zero when that is not known
}
