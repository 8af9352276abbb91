package qcow2

import (
	"bytes"
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

// part is some bytes of a file at their place.
type part struct {
	at   int64
	data []byte
}

// empty returns what an overlay that holds nothing yet has in it, and its length; the rest is a hole.
func empty(base rootdisk.Base) (parts []part, length int64, err error) {
	if base.Bytes <= 0 || base.Bytes > model.MaxDiskBytes || base.Bytes%512 != 0 {
		return nil, 0, model.Errorf(model.ErrCorrupt, "cannot make a disk over a base of %d bytes: not a possible size", base.Bytes)
	}
	if !base.Digest.Valid() {
		return nil, 0, model.Errorf(model.ErrInvalid, "cannot make a disk over a base with the digest %q", base.Digest)
	}
	digest, err := hex.DecodeString(base.Digest.Hex())
	if err != nil {
		return nil, 0, err
	}
	entries := (base.Bytes + perL1 - 1) / perL1
	clusters := 3 + (entries*8+cluster-1)/cluster
	head, err := binary.Append(nil, binary.BigEndian, header{
		Magic: magic, Version: version, ClusterBits: clusterBits, Bytes: uint64(base.Bytes),
		L1Entries: uint32(entries), L1Offset: 3 * cluster,
		RefcountTableOffset: cluster, RefcountTableClusters: 1,
		RefcountOrder: 4, HeaderSize: headerSize,
	})
	if err != nil {
		return nil, 0, err
	}
	head = binary.BigEndian.AppendUint32(head, ours)
	head = binary.BigEndian.AppendUint32(head, uint32(len(digest)))
	head = append(head, digest...)
	head = append(head, make([]byte, 8)...)                // the end of the extensions
	table := binary.BigEndian.AppendUint64(nil, 2*cluster) // its first entry: where the block is
	block := bytes.Repeat([]byte{0, 1}, int(clusters))     // each cluster is used once
	return []part{{0, head}, {cluster, table}, {2 * cluster, block}}, clusters * cluster, nil
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
