package store

import (
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"banger/internal/model"
)

// failed is the one place where errors of SQLite get their kind. An err that has one, such as "no such VM", is already
// meant for the user and stays as it is; nil stays nil.
func failed(err error, format string, args ...any) error {
	if err == nil || model.KindOf(err) != nil {
		return err
	}
	doing := fmt.Sprintf("cannot "+format, args...)
	switch code(err) {
	case sqlite3.SQLITE_FULL:
		return model.Errorf(model.ErrNoSpace, "%s: the disk is full; free some space, for instance with: banger vm delete NAME (%w)", doing, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return model.Errorf(model.ErrUnavailable, "%s: another program holds the database; close it and run the command again (%w)", doing, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return model.Errorf(model.ErrDenied, "%s: it cannot be written; check its owner and mode, and that its file system is not mounted read-only (%w)", doing, err)
	case sqlite3.SQLITE_CANTOPEN:
		return model.Errorf(model.ErrDenied, "%s: check the owner and the mode of its directory (%w)", doing, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return model.Errorf(model.ErrCorrupt, "%s: it is damaged and was left as it is; move it away, or put a copy back (%w)", doing, err)
	case sqlite3.SQLITE_IOERR:
		return model.Errorf(model.ErrUnavailable, "%s: its disk does not read or write; look at dmesg (%w)", doing, err)
	case sqlite3.SQLITE_INTERRUPT:
		return model.Errorf(model.ErrCanceled, "%s: canceled (%w)", doing, err)
	}
	return model.HostErrorf(err, "%s", doing)
}

// code returns SQLite's primary result code, or 0 when err is none of SQLite's.
func code(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return sqlite3.SQLITE_OK
	}
	switch e.Code() { // these say more than their primary code does
	case ioerrWriteFull:
		return sqlite3.SQLITE_FULL
	case sqlite3.SQLITE_IOERR_CORRUPTFS:
		return sqlite3.SQLITE_CORRUPT
	}
	return e.Code() & 0xff
}

// ioerrWriteFull is what a shared-memory file that cannot grow reports.
const ioerrWriteFull = sqlite3.SQLITE_IOERR_SHMSIZE

func isFull(err error) bool { return err != nil && code(err) == sqlite3.SQLITE_FULL }

// violates says whether err is a broken constraint of the given extended code.
func violates(err error, extended int) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == extended
}

// orNotFound gives "no row" its kind; other errors stay.
func orNotFound(err error, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return model.Errorf(model.ErrNotFound, format, args...)
	}
	return err
}
