package client

import (
	"fmt"

	bangerv1 "banger/api/banger/v1"
)

// Review is what a guest has changed. Names of files are bytes; in JSON those that are no UTF-8 are mended.
type Review struct {
	Tree       string        `json:"tree"`        // names the guest's state; "" when the patch lacks changes of left_out
	BaseCommit string        `json:"base_commit"` // that the patch is relative to, when one was asked for
	Changes    []ChangedFile `json:"changes"`
	Refused    []FileProblem `json:"refused"` // dangerous to have on a host: not in the patch
	Left       []FileProblem `json:"left_out"`
	Ignored    int64         `json:"ignored"` // new files that the project's ignore rules name
}

// ChangedFile is one changed file.
type ChangedFile struct {
	Path    string `json:"path"`
	OldPath string `json:"old_path"` // of a rename
	Status  string `json:"status"`   // added, modified, deleted, renamed, retyped
	OldMode string `json:"old_mode"` // git's: 100644, 100755, 120000; "" for none
	NewMode string `json:"new_mode"` // likewise
	Size    int64  `json:"size"`
	Target  string `json:"target"` // of a new link
	Runs    string `json:"runs"`   // who runs it, or takes orders from it, without being asked; or ""
	Binary  bool   `json:"binary"`
	Added   int64  `json:"added"`   // lines
	Deleted int64  `json:"deleted"` // lines
}

// FileProblem is a file that is not in a patch, and why.
type FileProblem struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

func reviewValue(m *bangerv1.Review) Review {
	return Review{
		Tree: m.GetTree(), BaseCommit: m.GetBaseCommit(), Changes: changeValues(m.GetChanges()),
		Refused: problemValues(m.GetRefused()), Left: problemValues(m.GetLeft()), Ignored: m.GetIgnored(),
	}
}

func changeValues(all []*bangerv1.ChangedFile) []ChangedFile {
	changes := make([]ChangedFile, 0, len(all))
	for _, m := range all {
		changes = append(changes, ChangedFile{
			Path: string(m.GetPath()), OldPath: string(m.GetOldPath()), Status: m.GetStatus(), OldMode: gitMode(m.GetOldMode()),
			NewMode: gitMode(m.GetNewMode()), Size: m.GetSize(), Target: string(m.GetTarget()), Runs: m.GetRuns(),
			Binary: m.GetBinary(), Added: m.GetAdded(), Deleted: m.GetDeleted(),
		})
	}
	return changes
}

func problemValues(all []*bangerv1.FileProblem) []FileProblem {
	problems := make([]FileProblem, 0, len(all))
	for _, m := range all {
		problems = append(problems, FileProblem{Path: string(m.GetPath()), Why: m.GetWhy()})
	}
	return problems
}

func gitMode(mode uint32) string {
	if mode == 0 {
		return ""
	}
	return fmt.Sprintf("%06o", mode)
}
