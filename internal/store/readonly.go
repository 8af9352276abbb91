package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"

	"modernc.org/sqlite"

	"banger/internal/model"
)

// OpenReadOnly opens the database at path, checks it as Open does, and changes nothing: neither the database nor the files
// beside it, and not even a lock that a daemon could see. A daemon may be at work on it. The error is ErrNotFound when
// there is no database, and one of an older schema, which Open would bring up to date, is ErrState.
func OpenReadOnly(ctx context.Context, path string) (*Store, error) {
	how, err := readOnlyMode(path)
	if err != nil {
		return nil, failed(err, "read the database %s", path)
	}
	db, err := connectReadOnly(path, how)
	if err != nil {
		return nil, failed(err, "read the database %s", path)
	}
	s := &Store{db: db, path: path, writing: make(chan struct{}, 1)}
	if err := s.checkReadOnly(ctx); err != nil {
		return nil, errors.Join(failed(err, "read the database %s", path), db.Close())
	}
	return s, nil
}

func (s *Store) checkReadOnly(ctx context.Context) error {
	if err := check(ctx, s.db, s.path); err != nil {
		return err
	}
	have, newest, err := schema(ctx, s.db)
	if err == nil && have < newest {
		return model.Fixable(model.ErrState, "banger vm list", "cannot read the database %s yet: an older banger wrote it (its schema is %d, this one's %d), and the next daemon brings it up to date", s.path, have, newest)
	}
	return err
}

// readOnlyMode finds the parameter with which SQLite reads the database in its state without writing. Where there is an
// index of the journal (-shm), of a daemon that lives or was killed, it can be read as it is. Without one SQLite would
// make it; but then the journal is empty, and the database alone is all there is.
func readOnlyMode(path string) (parameter string, err error) {
	if err := whole(path); err != nil {
		return "", err
	}
	if _, err := os.Lstat(path + "-shm"); err == nil {
		return "readonly_shm", nil
	}
	journal, err := os.Lstat(path + "-wal")
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && journal.Size() == 0:
		return "immutable", nil
	case err != nil:
		return "", err
	}
	return "", model.Fixable(model.ErrState, "banger vm list", "cannot read the database %s without writing: its journal has lost its index; a daemon makes it again", path)
}

func connectReadOnly(path, how string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: url.Values{
		"mode":      {"ro"},
		how:         {"1"},
		"_dqs":      {"0"},
		"_error_rc": {"1"},
		"_pragma":   {"busy_timeout(5000)", "query_only(1)", "trusted_schema(0)", "temp_store(MEMORY)"},
	}.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}
