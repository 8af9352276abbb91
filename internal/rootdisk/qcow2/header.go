package qcow2

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"banger/internal/model"
	"banger/internal/rootdisk"
)

// The format is QEMU's docs/interop/qcow2.txt, version 3, big-endian. A fresh overlay is four things, one cluster each
// but for a large disk's level 1 table: header, refcount table, refcount block, level 1 table full of zeros.
const (
	magic       = 0x514649fb // "QFI" 0xfb
	version     = 3
	clusterBits = 16
	cluster     = 1 << clusterBits
	headerSize  = 104
	perL1       = cluster / 8 * cluster // bytes that one level 1 entry covers: 512 MiB

	// ours is a header extension that QEMU keeps and does not read. It holds the digest of the base, since the file
	// names no backing file: a name in it would be one that QEMU opens when it is told nothing else.
	ours = 0x62616e67 // "bang"

	// QEMU may set these incompatible features; every other one, such as an external data file, is refused.
	featureDirty   = 1 << 0 // refcounts are repaired when it is opened
	featureCorrupt = 1 << 1
)

// header is the fixed part of version 3.
type header struct {
	Magic, Version                      uint32
	BackingOffset                       uint64
	BackingSize, ClusterBits            uint32
	Bytes                               uint64 // virtual size
	CryptMethod, L1Entries              uint32
	L1Offset, RefcountTableOffset       uint64
	RefcountTableClusters, Snapshots    uint32
	SnapshotsOffset                     uint64
	Incompatible, Compatible, Autoclear uint64
	RefcountOrder, HeaderSize           uint32
}

// extension heads each of what follows the header; type 0 ends them.
type extension struct{ Type, Size uint32 }

// empty returns the bytes of an overlay that holds nothing yet, and its length; the rest is zeros.
func empty(base rootdisk.Base) (head []byte, size int64, err error) {
	if base.Bytes <= 0 || base.Bytes > model.MaxDiskBytes || base.Bytes%512 != 0 {
		return nil, 0, model.Errorf(model.ErrCorrupt, "cannot make a disk over a base of %d bytes: not a possible size", base.Bytes)
	}
	entries := (base.Bytes + perL1 - 1) / perL1
	l1Clusters := (entries*8 + cluster - 1) / cluster
	h := header{
		Magic: magic, Version: version, ClusterBits: clusterBits, Bytes: uint64(base.Bytes),
		L1Entries: uint32(entries), L1Offset: 3 * cluster,
		RefcountTableOffset: cluster, RefcountTableClusters: 1,
		RefcountOrder: 4, HeaderSize: headerSize,
	}
	if !base.Digest.Valid() {
		return nil, 0, model.Errorf(model.ErrInvalid, "cannot make a disk over a base with the digest %q", base.Digest)
	}
	digest, err := hex.DecodeString(base.Digest.Hex())
	if err != nil {
		return nil, 0, err
	}
	clusters := 3 + l1Clusters
	head = make([]byte, 3*cluster)
	n, err := binary.Encode(head, binary.BigEndian, h)
	if err != nil {
		return nil, 0, err
	}
	binary.BigEndian.PutUint32(head[n:], ours)
	binary.BigEndian.PutUint32(head[n+4:], uint32(len(digest)))
	copy(head[n+8:], digest)
	binary.BigEndian.PutUint64(head[cluster:], 2*cluster) // the refcount table's first entry: the block
	for i := range clusters {
		binary.BigEndian.PutUint16(head[2*cluster+2*i:], 1) // each cluster is used once
	}
	return head, clusters * cluster, nil
}

// errDamaged is a header that is not one of ours, or no longer.
var errDamaged = errors.New("damaged header")

// check reads the header of an overlay and says whether QEMU may be given it over base. A VMM that was taken over can
// have written anything there, so only what cannot make QEMU open another file passes.
func check(r io.Reader, base rootdisk.Base) error {
	first, err := io.ReadAll(io.LimitReader(r, cluster))
	if err != nil {
		return err
	}
	var h header
	if _, err := binary.Decode(first, binary.BigEndian, &h); err != nil {
		return fmt.Errorf("%w: it is cut short", errDamaged)
	}
	switch {
	case h.Magic != magic || h.Version != version || h.ClusterBits != clusterBits || h.HeaderSize < headerSize:
		return fmt.Errorf("%w: not a qcow2 of ours", errDamaged)
	case h.BackingOffset != 0 || h.CryptMethod != 0 || h.Incompatible&^(featureDirty|featureCorrupt) != 0:
		return fmt.Errorf("%w: it asks for another file or for a feature that is never used", errDamaged)
	case h.Incompatible&featureCorrupt != 0:
		return fmt.Errorf("%w: QEMU marked it as corrupt", errDamaged)
	case h.Bytes != uint64(base.Bytes):
		return fmt.Errorf("%w: it is made for a base of %d bytes, not %d", errDamaged, h.Bytes, base.Bytes)
	case hex.EncodeToString(digestOf(first, h.HeaderSize)) != base.Digest.Hex():
		return fmt.Errorf("%w: it is made for another base", errDamaged)
	}
	return nil
}

// digestOf returns what our header extension holds, or nil. QEMU may have put its own before it.
func digestOf(first []byte, offset uint32) []byte {
	for rest := first[min(int(offset), len(first)):]; ; {
		var e extension
		if n, err := binary.Decode(rest, binary.BigEndian, &e); err != nil || e.Type == 0 || int64(e.Size) > int64(len(rest)-n) {
			return nil
		}
		rest = rest[binary.Size(e):]
		if e.Type == ours {
			return rest[:e.Size]
		}
		rest = rest[min((int(e.Size)+7)&^7, len(rest)):] // padded to 8 bytes
	}
}
