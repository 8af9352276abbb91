package image

import (
	"cmp"
	"slices"
	"strings"

	"banger/internal/image/refname"
	"banger/internal/model"
)

// minPrefix is the shortest prefix of a digest that is taken as a reference.
const minPrefix = 4

// byDigest returns the one of all whose digest ref is, or begins like.
func byDigest[T any](all []T, ref, noun string, digest func(T) model.Digest) (T, error) {
	var found []T
	hex := strings.TrimPrefix(ref, "sha256:")
	for _, v := range all {
		if len(hex) >= minPrefix && strings.HasPrefix(digest(v).Hex(), hex) {
			found = append(found, v)
		}
	}
	var none T
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return none, model.Errorf(model.ErrNotFound, "cannot find %s %q: run banger %s list to see those there are", noun, ref, noun)
	}
	return none, model.Errorf(model.ErrInvalid, "cannot tell which %s %q means: %d of them begin so; write more of it", noun, ref, len(found))
}

// findImage looks for a name first: as it was written, in its one spelling, and, for a plain word, with the tag that it
// leaves out. Then for what was pulled under a digest, and last for an image's own digest.
func findImage(all []model.Image, ref string) (model.Image, error) {
	for _, name := range spellings(ref) {
		for _, i := range all {
			if slices.Contains(i.Tags, name) || i.Reference == name {
				return i, nil
			}
		}
	}
	return byDigest(all, ref, "image", func(i model.Image) model.Digest { return i.Digest })
}

func spellings(ref string) []string {
	list := []string{ref}
	if n, err := refname.Parse(ref); err == nil && n.String() != ref {
		list = append(list, n.String())
	}
	if n, err := refname.ParseReference(ref); err == nil {
		list = append(list, n.String())
	}
	return slices.DeleteFunc(list, func(name string) bool { return name == "" })
}

// tagMeant returns which of the image's names ref is; "" when it is a digest.
func tagMeant(i model.Image, ref string) string {
	for _, name := range spellings(ref) {
		if slices.Contains(i.Tags, name) {
			return name
		}
	}
	return ""
}

func findKernel(all []model.Kernel, ref string) (model.Kernel, error) {
	for _, k := range all {
		if ref != "" && k.Name == ref {
			return k, nil
		}
	}
	return byDigest(all, ref, "kernel", func(k model.Kernel) model.Digest { return k.Digest })
}

func sortImages(all []model.Image) {
	slices.SortFunc(all, func(a, b model.Image) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
	})
}

func sortKernels(all []model.Kernel) {
	slices.SortFunc(all, func(a, b model.Kernel) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
	})
}
