package cli

import "testing"

// Images with a name go only with a yes. Where nobody can be asked, the flag is named; a terminal is asked in test/e2e.
func TestPruneOfNamedImagesNeedsAYes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Images.AddImage("debian")
	for _, args := range [][]string{{"--all"}, {"--all", "--no-input"}, {"--all", "--format", "json"}} {
		b.run(t, append([]string{"image", "prune"}, args...)...).want(t, 1, "", "nobody to ask", "banger image prune --all --dry-run", "banger image prune --all -f")
	}
	if n := b.Images.Pruned(); n != 0 {
		t.Errorf("%d removed", n)
	}
	b.run(t, "image", "prune", "--all", "--dry-run").want(t, 0, "debian\n", "would free")
	b.run(t, "image", "prune").want(t, 0, "debian\n", "freed")
	b.run(t, "image", "prune", "--all", "-f").want(t, 0, "debian\n", "freed")
	b.run(t, "image", "prune", "--all", "--force", "-q").want(t, 0, "debian\n")
	if n := b.Images.Pruned(); n != 3 {
		t.Errorf("%d calls that remove", n)
	}
}
