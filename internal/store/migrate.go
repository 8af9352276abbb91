package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/model"
)

// migrations holds N.sql, which takes schema N-1 to N. They only go forward; a released one is never changed.
//
//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks a SQLite file as ours: "bang".
const applicationID = 0x62616e67

// ensure makes an empty database of the newest schema when there is none. It takes its name only when it is whole, so a
// file of no bytes is a truncated database and not a new one.
func ensure(ctx context.Context, path string) (created bool, err error) {
	if err := whole(path); !errors.Is(err, model.ErrNotFound) {
		return false, err
	}
	return true, build(ctx, path)
}

// whole looks at the files from outside: ErrNotFound when there is no database, ErrCorrupt for what cannot be one.
func whole(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return model.Errorf(model.ErrCorrupt, "cannot open the database %s: it is not a regular file; move it away", path)
	case err == nil && info.Size() == 0:
		return model.Errorf(model.ErrCorrupt, "cannot open the database %s: it is empty, so what it held is lost; put a copy back, or move it and the vms directory away to begin anew", path)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	// A journal without its database holds rows that SQLite would put into the next one of that name.
	if _, err := os.Lstat(path + "-wal"); err == nil {
		return model.Errorf(model.ErrCorrupt, "cannot make the database %s: one was there, its journal %s-wal still is; put the database back, or move the journal away", path, path)
	}
	return model.Errorf(model.ErrNotFound, "there is no database %s yet", path)
}

func build(ctx context.Context, path string) error {
	temp := path + ".new"
	if err := errors.Join(atomicfile.Remove(temp), atomicfile.Remove(temp+"-wal"), atomicfile.Remove(temp+"-shm")); err != nil {
		return err
	}
	file, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // SQLite gives its journals this mode too
	if err != nil {
		return err
	}
	// Closed before SQLite opens it: a later close would drop SQLite's locks (fcntl(2)).
	if err := file.Close(); err != nil {
		return err
	}
	db, err := connect(temp, "rw")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
	if err == nil {
		err = migrate(ctx, db)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return errors.Join(err, atomicfile.Remove(temp), atomicfile.Remove(temp+"-wal"), atomicfile.Remove(temp+"-shm"))
	}
	crash.At("store.create.before")
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, atomicfile.Remove(temp))
	}
	crash.At("store.create.after")
	return atomicfile.SyncDir(filepath.Dir(path))
}

// check reads the whole database, which is small, and refuses what is damaged or not banger's.
func check(ctx context.Context, db *sql.DB, path string) error {
	var id int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return err
	}
	if id != applicationID {
		return model.Errorf(model.ErrCorrupt, "cannot open the database %s: it is not banger's; move it away", path)
	}
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return model.Errorf(model.ErrCorrupt, "cannot open the database %s: it is damaged and was left as it is; move it away, or put a copy back (%s)", path, verdict)
	}
	return nil
}

// migrate takes the schema to the newest version, in one transaction per step.
func migrate(ctx context.Context, db *sql.DB) error {
	have, newest, err := schema(ctx, db)
	if err != nil {
		return err
	}
	for version := have + 1; version <= newest; version++ {
		if err := step(ctx, db, version); err != nil {
			return fmt.Errorf("schema %d: %w", version, err)
		}
	}
	return nil
}

// schema returns the version that the database has and the newest there is. ErrUnsupported when it has a newer one.
func schema(ctx context.Context, db *sql.DB) (have, newest int, err error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, 0, err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return 0, 0, err
	}
	if have > len(names) {
		return have, len(names), model.Errorf(model.ErrUnsupported, "cannot open the database: a newer banger wrote it (its schema is %d, this one knows %d); install that version again", have, len(names))
	}
	return have, len(names), nil
}

func step(ctx context.Context, db *sql.DB, version int) error {
	script, err := migrations.ReadFile(fmt.Sprintf("migrations/%d.sql", version))
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	if _, err := tx.ExecContext(ctx, string(script)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		return err
	}
	return tx.Commit()
}
