package workspace

import (
	"path"
	"strings"
)

// runner says who runs what is in a file without being asked to by its name, or hands it to another program, or takes
// orders from it; "" for an ordinary file. It is for a reader's eyes: what it does not know is not harmless for that.
func runner(name string) string {
	lower := strings.ToLower(name)
	base := path.Base(lower)
	if who := byName[base]; who != "" {
		return who
	}
	for _, d := range strings.Split(path.Dir(lower), "/") {
		if who := byDirectory[d]; who != "" {
			return who
		}
	}
	if strings.HasPrefix(lower, ".github/workflows/") || strings.HasPrefix(lower, ".github/actions/") {
		return "GitHub Actions runs it"
	}
	if strings.HasPrefix(base, ".env") {
		return "many programs take their environment from it"
	}
	return bySuffix[path.Ext(base)]
}

const (
	npm    = "npm, yarn or pnpm may run its scripts"
	make_  = "make runs it"
	python = "Python's tools run it"
	ci     = "continuous integration runs it"
	direnv = "direnv runs it on entering the directory"
	agents = "coding agents take orders from it"
	editor = "an editor may run what it says"
	gits   = "git acts on it"
	hooks  = "git hooks run it"
	gradle = "gradle runs it"
	ruby   = "ruby's tools run it"
	cargo  = "cargo acts on it"
	nix    = "nix evaluates it"
	tools  = "a tool manager acts on it on entering the directory"
	docker = "docker builds or runs it"
)

var byName = map[string]string{
	".envrc": direnv, "package.json": npm, ".npmrc": npm, ".yarnrc": npm, ".yarnrc.yml": npm, ".pnpmfile.cjs": npm,
	"pnpm-workspace.yaml": npm, "makefile": make_, "gnumakefile": make_, "setup.py": python, "setup.cfg": python,
	"conftest.py": python, "pyproject.toml": python, "tox.ini": python, "noxfile.py": python, "sitecustomize.py": python,
	"usercustomize.py": python, ".gitlab-ci.yml": ci, ".travis.yml": ci, "jenkinsfile": ci, "azure-pipelines.yml": ci,
	"bitbucket-pipelines.yml": ci, ".drone.yml": ci, "cloudbuild.yaml": ci, "appveyor.yml": ci, ".cirrus.yml": ci,
	"claude.md": agents, "agents.md": agents, "gemini.md": agents, ".cursorrules": agents, ".mcp.json": agents, ".windsurfrules": agents,
	".vimrc": editor, ".exrc": editor, ".nvimrc": editor, ".nvim.lua": editor, ".dir-locals.el": editor, ".editorconfig": editor,
	".gitattributes": gits, ".gitmodules": gits, ".gitignore": gits, ".gitconfig": gits, ".lfsconfig": gits, ".mailmap": gits,
	".git-blame-ignore-revs": gits, ".pre-commit-config.yaml": hooks, ".pre-commit-hooks.yaml": hooks, "lefthook.yml": hooks, ".lefthook.yml": hooks, "lefthook.yaml": hooks,
	".lintstagedrc": hooks, ".lintstagedrc.json": hooks, "commitlint.config.js": hooks, ".overcommit.yml": hooks,
	"build.gradle": gradle, "build.gradle.kts": gradle, "settings.gradle": gradle, "settings.gradle.kts": gradle, "gradlew": gradle,
	"gradle-wrapper.jar": gradle, "gradle-wrapper.properties": gradle, "mvnw": "maven runs it", "pom.xml": "maven acts on it",
	"gemfile": ruby, "rakefile": ruby, "vagrantfile": "vagrant runs it", "build.rs": cargo, "cargo.toml": cargo,
	"rust-toolchain": cargo, "rust-toolchain.toml": cargo, "flake.nix": nix, "shell.nix": nix, "default.nix": nix,
	".tool-versions": tools, "mise.toml": tools, ".mise.toml": tools, ".nvmrc": tools, ".python-version": tools, ".ruby-version": tools,
	"dockerfile": docker, "containerfile": docker, "docker-compose.yml": docker, "docker-compose.yaml": docker, "compose.yml": docker, "compose.yaml": docker,
	"justfile": "just runs it", ".justfile": "just runs it", "taskfile.yml": "task runs it", "cmakelists.txt": "cmake runs it",
	"meson.build": "meson runs it", "configure": "a build runs it", "build.bazel": "bazel runs it", "workspace": "bazel runs it",
	".bazelrc": "bazel acts on it", "procfile": "process managers run it", "tiltfile": "tilt runs it", "binding.gyp": npm,
	".bangerignore": "banger leaves out what it names",
}

var byDirectory = map[string]string{
	".vscode": editor, ".idea": editor, ".fleet": editor, ".zed": editor, ".vs": editor, ".settings": editor, ".vim": editor, ".nvim": editor,
	".husky": hooks, ".githooks": hooks, ".hooks": hooks, "githooks": hooks, ".circleci": ci, ".buildkite": ci, ".gitea": ci, ".forgejo": ci, ".woodpecker": ci,
	".devcontainer": "an editor builds and runs it", ".cargo": cargo, ".mvn": "maven acts on it", ".yarn": npm, ".bundle": ruby,
	".claude": agents, ".cursor": agents, ".codex": agents, ".gemini": agents, ".windsurf": agents, ".continue": agents, ".aider": agents,
	".direnv": direnv, ".mise": tools, ".config": "tools may act on it", ".ssh": "ssh acts on it",
}

var bySuffix = map[string]string{
	".mk": make_, ".code-workspace": editor, ".sublime-project": editor, ".pth": python, ".service": "systemd runs it",
	".desktop": "a desktop runs it", ".cmake": "cmake runs it", ".gyp": npm, ".sln": editor, ".csproj": "msbuild runs it", ".targets": "msbuild runs it", ".props": "msbuild acts on it",
}
