// Package store keeps what banger knows for good in a SQLite database.
//
// It holds what a VM is: identity, intent, what was decided for it. What is true of it now (processes, devices) is never
// in here. Every call is one transaction, durable when it returns. Errors carry a kind of package model: ErrCorrupt,
// ErrNoSpace, ErrDenied, ErrUnavailable when another process holds the database, and the kinds that each call names.
package store

import (
	"context"
	"database/sql"
	"errors"
	"net/url"

	"modernc.org/sqlite"
)

// Store is an open database. Its methods may be called at once from anywhere: reads go on beside a write, writes wait
// for each other.
type Store struct {
	db      *sql.DB
	path    string
	created bool
	writing chan struct{} // held by the one that writes; a channel so that waiting for it can be given up

	reserved bool // guarded by writing: the reserve file is there
	snapshot snapshot
}

// connections is one for the writer and one for reads beside it.
const connections = 2

// Open opens the database at path and brings its schema up to date. A missing database is made; Created tells. Anything
// there that is not a whole database of this or an earlier banger is refused and left as it is: ErrCorrupt,
// ErrUnsupported for a newer one. The caller holds the daemon's lock, and Closes the store.
func Open(ctx context.Context, path string) (*Store, error) {
	created, err := ensure(ctx, path)
	if err != nil {
		return nil, failed(err, "open the database %s", path)
	}
	db, err := connect(path, "rw")
	if err != nil {
		return nil, failed(err, "open the database %s", path)
	}
	s := &Store{db: db, path: path, created: created, writing: make(chan struct{}, 1)}
	err = s.prepare(ctx)
	if isFull(err) && s.spendReserve() { // even reading needs room for the journal's index
		err = s.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(failed(err, "open the database %s", path), db.Close())
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	if err := check(ctx, s.db, s.path); err != nil {
		return err
	}
	if err := migrate(ctx, s.db); err != nil {
		return err
	}
	s.growJournal()
	s.reserve()
	return nil
}

// Created says whether Open made the database because there was none. Files of VMs that lie about then belong to rows
// that are lost: they are not rubbish to be swept.
func (s *Store) Created() bool { return s.created }

// Close closes the database once what runs in it has ended.
func (s *Store) Close() error { return s.db.Close() }

// connect names everything a connection needs in its DSN, so that each one of the pool has it.
func connect(path, mode string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: url.Values{
		"mode":      {mode},
		"_txlock":   {"immediate"},
		"_dqs":      {"0"},
		"_error_rc": {"1"},
		"_pragma": {
			"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)",
			"temp_store(MEMORY)",
			"cache_size(-256)",            // KiB per connection: all rows of a busy installation fit
			"wal_autocheckpoint(128)",     // pages: a journal of half a MiB, not of four
			"journal_size_limit(1048576)", // journalBytes
		},
	}.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// write runs fn in the one writing transaction. fn must use tx only. On a full disk essential writes, those that free
// space or record how things ended, spend the reserve and are tried once more.
func (s *Store) write(ctx context.Context, n need, fn func(tx *sql.Tx) error) error {
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.writing }()
	defer s.snapshot.outdate()
	err := s.transact(ctx, fn)
	if n == essential && isFull(err) && s.spendReserve() {
		err = s.transact(ctx, fn)
	}
	if err == nil && n == essential {
		s.reserve()
	}
	return err
}

func (s *Store) transact(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}
