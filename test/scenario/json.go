package scenario

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// jsonField finds what path (such as .a.b[0].c, .a.length, or . for the whole) names in a JSON document. A string comes without quotes,
// everything else as compact JSON.
func jsonField(document, path string) (string, error) {
	decoder := json.NewDecoder(strings.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return "", fmt.Errorf("not JSON: %w", err)
	}
	rest := strings.ReplaceAll(path, "[", ".[")
	for step := range strings.SplitSeq(rest, ".") {
		if step == "" {
			continue
		}
		next, err := jsonStep(value, step)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		value = next
	}
	if text, ok := value.(string); ok {
		return text, nil
	}
	out, err := json.Marshal(value)
	return string(out), err
}

func jsonStep(value any, step string) (any, error) {
	switch v := value.(type) {
	case map[string]any:
		if field, ok := v[step]; ok {
			return field, nil
		}
		return nil, fmt.Errorf("there is no key %q", step)
	case []any:
		if step == "length" {
			return len(v), nil
		}
		i, err := strconv.Atoi(strings.Trim(step, "[]"))
		if err != nil || i < 0 || i >= len(v) {
			return nil, fmt.Errorf("a list of %d has no %s", len(v), step)
		}
		return v[i], nil
	}
	return nil, fmt.Errorf("%v has no %s", value, step)
}
