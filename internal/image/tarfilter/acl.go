package tarfilter

import "encoding/binary"

// The tags of an access control list's entries.
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

const (
	aclXattrVersion = 2 // of the form that user space and tar have: entries of 8 bytes
	aclDiskVersion  = 1 // of ext4's form: only entries of users and groups have an id
	aclEntry        = 8
)

// diskACL turns an access control list from the form in which user space reads and sets it, which tar records, into the
// one that ext4 stores. A list that the kernel would not take makes a file unusable for all but root, so it is not kept.
func diskACL(xattr string) (string, bool) {
	in := []byte(xattr)
	if len(in) < 4 || (len(in)-4)%aclEntry != 0 || binary.LittleEndian.Uint32(in) != aclXattrVersion {
		return "", false
	}
	out := binary.LittleEndian.AppendUint32(nil, aclDiskVersion)
	var last uint16
	var has uint16
	for in = in[4:]; len(in) > 0; in = in[aclEntry:] {
		tag, perm := binary.LittleEndian.Uint16(in), binary.LittleEndian.Uint16(in[2:])
		named := tag == aclUser || tag == aclGroup
		known := named || tag == aclUserObj || tag == aclGroupObj || tag == aclMask || tag == aclOther
		// In the order of their tags, which the kernel demands, and each but the named ones once.
		if !known || perm > 7 || tag < last || (tag == last && !named) {
			return "", false
		}
		last, has = tag, has|tag
		out = append(out, in[:4]...)
		if named {
			out = append(out, in[4:aclEntry]...)
		}
	}
	const always = aclUserObj | aclGroupObj | aclOther
	if has&always != always || (has&(aclUser|aclGroup) != 0 && has&aclMask == 0) {
		return "", false
	}
	return string(out), true
}
