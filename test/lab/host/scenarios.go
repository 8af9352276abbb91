package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// script is one scenario and what its first line says of it:
//
//	# lab: minutes=N [user] [needs=firecracker] [reboot=NAME]
//	# lab: minutes=N after
type script struct {
	name   string
	limit  time.Duration
	user   bool    // it runs as an ordinary user
	needs  string  // a program that the lab may have been given
	reboot string  // the scenario that goes on, in the same directories, when the lab has been rebooted
	next   *script // that one
	after  bool    // it is one that goes on, and is not run by itself
}

const mark = "# lab: "

// scenarios reads the scripts of a directory, in the order of their names, and returns those whose names match.
func scenarios(dir, pattern string) ([]*script, error) {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	var all []*script
	byName := map[string]*script{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s, err := parseScenario(strings.TrimSuffix(filepath.Base(path), ".txtar"), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, &s)
		byName[s.name] = &s
	}
	var found []*script
	for _, s := range all {
		if s.reboot != "" {
			if s.next = byName[s.reboot]; s.next == nil || !s.next.after || s.next.user != s.user {
				return nil, fmt.Errorf("the scenario %s goes on with %s, which is none that goes on", s.name, s.reboot)
			}
		}
		if !s.after && match.MatchString(s.name) {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no scenario's name matches %q", pattern)
	}
	return found, nil
}

func parseScenario(name, text string) (script, error) {
	s := script{name: name}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return s, fmt.Errorf("the scenario %q needs a name of small letters, digits, - and _", name)
	}
	line, _, _ := strings.Cut(text, "\n")
	words, ok := strings.CutPrefix(line, mark)
	for word := range strings.FieldsSeq(words) {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case key == "minutes":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 60 {
				return s, fmt.Errorf("the scenario %s may take 1 to 60 minutes, not %q", name, value)
			}
			s.limit = time.Duration(n) * time.Minute
		case word == "user":
			s.user = true
		case word == "needs=firecracker":
			s.needs = value
		case key == "reboot" && value != "":
			s.reboot = value
		case word == "after":
			s.after = true
		default:
			return s, fmt.Errorf("the scenario %s asks for %q, which the lab does not know", name, word)
		}
	}
	if !ok || s.limit == 0 {
		return s, fmt.Errorf("the scenario %s must begin with %q and minutes=N", name, mark)
	}
	return s, nil
}
