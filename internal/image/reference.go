package image

import (
	"cmp"
	"slices"
	"strings"

	"banger/internal/model"
)

// minPrefix is the shortest prefix of a digest that is taken as a reference.
const minPrefix = 4

// find returns the one of all that ref means: by name, digest, or unique prefix of a digest.
func find[T any](all []T, ref, noun string, name func(T) string, digest func(T) model.Digest) (T, error) {
	var found []T
	hex := strings.TrimPrefix(ref, "sha256:")
	for _, v := range all {
		if ref != "" && name(v) == ref {
			return v, nil
		}
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

func findImage(all []model.Image, ref string) (model.Image, error) {
	return find(all, ref, "image", func(i model.Image) string { return i.Name }, func(i model.Image) model.Digest { return i.Digest })
}

func findKernel(all []model.Kernel, ref string) (model.Kernel, error) {
	return find(all, ref, "kernel", func(k model.Kernel) string { return k.Name }, func(k model.Kernel) model.Digest { return k.Digest })
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
