package store

import (
	"os"

	"golang.org/x/sys/unix"

	"banger/internal/atomicfile"
)

// need says what a write is worth on a full disk.
type need int

const (
	ordinary  need = iota // makes something new: may fail
	essential             // frees space or records how something ended: spends the reserve
)

// reserveBytes is more than the journal of any essential write needs.
const reserveBytes = 1 << 20

func (s *Store) reservePath() string { return s.path + ".reserve" }

// journalBytes is what the journal may grow to without asking the disk for more: as much as it keeps when it starts over.
const journalBytes = 1 << 20

// growJournal gives the journal its blocks before it needs them, beyond its end, where SQLite does not see them. Unlike
// the reserve, which anyone may take once it was given back to the disk, nobody else can have them: as long as the
// database itself does not grow, writes go on however full the disk is. Without room there is only the reserve.
func (s *Store) growJournal() {
	file, err := os.OpenFile(s.path+"-wal", os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer file.Close() // SQLite has no locks on this file that a close could drop
	_ = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, journalBytes)
}

// reserve sets disk space aside. That there is none to set aside is no error: then the reserve was spent, or the disk
// was full before banger came.
func (s *Store) reserve() {
	if s.reserved {
		return
	}
	file, err := os.OpenFile(s.reservePath(), os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return
	}
	defer file.Close()
	if err := unix.Fallocate(int(file.Fd()), 0, 0, reserveBytes); err != nil {
		_ = atomicfile.Remove(s.reservePath()) // part of it is no use
		return
	}
	s.reserved = true
}

// spendReserve gives the reserve, perhaps that of an earlier daemon, back to the disk and says whether there was one.
func (s *Store) spendReserve() bool {
	s.reserved = false
	return os.Remove(s.reservePath()) == nil
}
