package workspace

import (
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// refusedName says why a file of that path must not be written on a host, or "". The path has the form that every path of
// a tree has: no empty part, no . and no .. between slashes.
func refusedName(name string) string {
	for part := range strings.SplitSeq(name, "/") {
		if isGitDir(part) {
			return "its path leads into a git directory, or does so on some file system"
		}
		if !strings.Contains(part, `\`) {
			continue
		}
		for sub := range strings.SplitSeq(part, `\`) { // a separator elsewhere
			if sub == ".." || isGitDir(sub) {
				return `its path leads out of the project or into a git directory where \ separates`
			}
		}
	}
	return ""
}

// isGitDir says whether some file system takes a name for .git: without regard to case, with characters that are left
// out of comparisons (HFS+, ext4's case folding), in a compatible spelling (ZFS), as NTFS reads names (trailing dots and
// spaces, streams) or shortens them (git~1).
func isGitDir(name string) bool {
	plain := plainName(name)
	plain, _, _ = strings.Cut(plain, ":")
	plain = strings.TrimRight(plain, ". ")
	if plain == ".git" {
		return true
	}
	number, short := strings.CutPrefix(plain, "git~")
	return short && number != "" && strings.Trim(number, "0123456789") == ""
}

// isModules says whether some file system takes a name for .gitmodules, which git refuses as a link.
func isModules(name string) bool {
	plain, _, _ := strings.Cut(plainName(name), ":")
	plain = strings.TrimRight(plain, ". ")
	return plain == ".gitmodules" || strings.HasPrefix(plain, "gitmod~") || strings.HasPrefix(plain, "gi7eba~")
}

// plainName writes a name in the smallest alphabet that a file system could take it to be in.
func plainName(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		i += n
		if r == utf8.RuneError && n == 1 || ignorable(r) {
			continue
		}
		b.WriteRune(unicode.ToLower(compatible(r)))
	}
	return b.String()
}

// ignorable says whether comparisons of names may leave r out.
func ignorable(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Cc, unicode.Variation_Selector, unicode.Mn, unicode.Me) ||
		r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0
}

// compatible maps the other spellings of the letters that matter here to the letters.
func compatible(r rune) rune {
	switch {
	case r >= 0xff01 && r <= 0xff5e: // full width
		return r - 0xfee0
	case r == 0x2024 || r == 0xfe52:
		return '.'
	case r >= 0x24d0 && r <= 0x24e9: // in circles
		return 'a' + r - 0x24d0
	case r >= 0x24b6 && r <= 0x24cf:
		return 'a' + r - 0x24b6
	case r >= 0x1d400 && r <= 0x1d6a3: // mathematical, 52 letters to an alphabet
		if n := (r - 0x1d400) % 52; n < 26 {
			return 'a' + n
		}
		return 'a' + (r-0x1d400)%52 - 26
	}
	if plain, ok := map[rune]rune{
		'ᵍ': 'g', 'ℊ': 'g', 'ᶢ': 'g', 'ɡ': 'g', 'ⁱ': 'i', 'ᵢ': 'i', 'ⅰ': 'i', 'Ⅰ': 'i', 'ℹ': 'i', 'ℐ': 'i', 'ℑ': 'i', 'ı': 'i',
		'İ': 'i', 'ⅈ': 'i', 'ᵗ': 't', 'ₜ': 't', 'ᵀ': 't', 'ᴳ': 'g', 'ᴵ': 'i', 'ꟲ': 'c',
	}[r]; ok {
		return plain
	}
	return r
}

// quoted makes bytes of a guest's part of a sentence.
func quoted(s string) string { return strconv.Quote(shorten(s)) }

// maxHops is how many links in a row the kernel follows.
const maxHops = 40

// refusedLink says why the link at name must not be written, or "": where following it would lead out of the project, or
// into its repository. Links that it passes through count as the tree has them.
func refusedLink(name, target string, links map[string]string) string {
	if strings.HasPrefix(target, "/") {
		return "it is a link to the absolute path " + quoted(target)
	}
	var at []string
	if dir := path.Dir(name); dir != "." {
		at = strings.Split(dir, "/")
	}
	todo := strings.Split(target, "/")
	for hops := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return "it is a link out of the project, to " + quoted(target)
			}
			at = at[:len(at)-1]
			continue
		}
		if refusedName(part) != "" {
			return "it is a link into a git directory, to " + quoted(target)
		}
		at = append(at, part)
		next, link := links[strings.Join(at, "/")]
		if !link {
			continue
		}
		if hops++; hops > maxHops {
			return "it is a link in a circle"
		}
		if strings.HasPrefix(next, "/") {
			return "it is a link through another one to the absolute path " + quoted(next)
		}
		at = at[:len(at)-1]
		todo = append(strings.Split(next, "/"), todo...)
		if len(todo) > 4*4096 {
			return "it is a link through too many others"
		}
	}
	return ""
}
