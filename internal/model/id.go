package model

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// VMID names a VM for ever: 16 characters of [a-z2-7], random, never used again.
type VMID string

// OperationID names one long operation (a create, a start, an image build) in logs, errors and the database.
type OperationID string

// InstanceID names an installation (a state directory): 8 characters of [a-z2-7]. Everything banger makes on a host
// outside that directory carries it, so that two installations never touch each other's.
type InstanceID string

var idEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

func randomID(n int) string {
	raw := make([]byte, (n*5+7)/8)
	rand.Read(raw) // never fails, by its contract
	return strings.ToLower(idEncoding.EncodeToString(raw))[:n]
}

// NewVMID returns a fresh random VM id (80 bits).
func NewVMID() VMID { return VMID(randomID(16)) }

// NewOperationID returns a fresh random operation id (60 bits).
func NewOperationID() OperationID { return OperationID(randomID(12)) }

// NewInstanceID returns a fresh random instance id (40 bits).
func NewInstanceID() InstanceID { return InstanceID(randomID(8)) }

// Valid says whether id has the shape of a VM id: what is derived from it (paths, serials) relies on that.
func (id VMID) Valid() bool { return validID(string(id), 16) }

// Valid says whether id has the shape of an instance id.
func (id InstanceID) Valid() bool { return validID(string(id), 8) }

func validID(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
