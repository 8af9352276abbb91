package workspace

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"banger/internal/atomicfile"
	"banger/internal/model"
)

// journal is what a change of the host's files is going to do, written before it does: a daemon that finds one finishes
// the change, or takes it back.
type journal struct {
	Host    string   `json:"host"`
	Phase   phase    `json:"phase"`
	From    id       `json:"from"` // tree that the files have
	To      id       `json:"to"`   // tree that they shall have
	Undo    id       `json:"undo"` // tree that a later undo goes to, or ""
	Entries []entry  `json:"entries"`
	Temps   [][]byte `json:"temps"`
}

// phase is how far a change has come.
type phase string

const (
	phaseStage   phase = "stage"   // new contents are being written aside: no file is touched yet
	phaseForward phase = "forward" // files are being replaced
	phaseBack    phase = "back"    // that failed: files are being put back
)

// entry is one file to be changed. Paths are bytes: JSON would change those that are no UTF-8.
type entry struct {
	Path []byte `json:"path"`
	Temp []byte `json:"temp,omitempty"` // where the new content lies until its time
	Old  side   `json:"old"`
	New  side   `json:"new"`
}

// side is a file before or after; the zero side is that there is none.
type side struct {
	Mode Mode        `json:"mode,omitempty"`
	ID   id          `json:"id,omitempty"`
	Perm fs.FileMode `json:"perm,omitempty"` // 0 for what fits the directory
}

func (s side) absent() bool { return s.Mode == 0 }

// same says whether two sides are the same to git.
func (s side) same(t side) bool { return s.Mode == t.Mode && s.ID == t.ID }

func (l leaf) side() side { return side{Mode: l.mode, ID: l.id} }

// write makes the journal durable.
func (j *journal) write(path string) error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, text, 0o600)
}

// readJournal returns the journal at path, or nil when there is none.
func readJournal(path string) (*journal, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	j := &journal{}
	if err := json.Unmarshal(text, j); err != nil {
		return nil, model.Errorf(model.ErrCorrupt, "cannot read the journal %s: %w", path, err)
	}
	return j, nil
}
