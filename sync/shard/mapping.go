package shard

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/config"
)

// mapping gives values their shards by rules instead of a hash: integers by
// number, others by bytes (a uuid's sixteen). It is never changed once made.
type mapping struct {
	integers rules[int64]
	bytes    rules[string]
}

// rules are asked in this order: list, ranges, what is left.
type rules[V cmp.Ordered] struct {
	list   map[V]int
	ranges []span[V] // disjoint, in order
	rest   int       // -1 if there is no such rule
}

// span is a range of values.
type span[V cmp.Ordered] struct {
	from, to     V    // from is inside, to is not
	noFrom, noTo bool // without a bound
	shard        int
	rule         string // its name
}

// rule is one rule of the configuration, of either form.
type rule struct {
	config.Mapping

	name string // as messages name it
}

// newMapping checks the rules of a data_type for a cluster of so many shards.
func newMapping(dataType string, from []rule, shards int) (*mapping, error) {
	var err error
	m := &mapping{}
	switch dataType {
	case "bigint":
		m.integers, err = newRules(from, shards, integerValue)
	case "uuid":
		m.bytes, err = newRules(from, shards, uuidValue)
	default:
		m.bytes, err = newRules(from, shards, textValue)
	}
	return m, err
}

func newRules[V cmp.Ordered](from []rule, shards int, value func(any) (V, error)) (rules[V], error) {
	r := rules[V]{list: map[V]int{}, rest: -1}
	for _, one := range from {
		if err := r.add(one, shards, value); err != nil {
			return rules[V]{}, fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return r, r.order()
}

func (r *rules[V]) add(rule rule, shards int, value func(any) (V, error)) error {
	isRange := rule.Start != nil || rule.End != nil
	if err := checkShard(rule.Shard, shards); err != nil {
		return err
	}
	switch {
	case len(rule.Values) > 0 && isRange:
		return errors.New("it has values and a range; make two rules of it")
	case len(rule.Values) > 0:
		return r.addList(rule, value)
	case isRange:
		return r.addRange(rule, value)
	case r.rest >= 0 && r.rest != rule.Shard:
		return fmt.Errorf("what is left goes to shard %d already", r.rest)
	}
	r.rest = rule.Shard
	return nil
}

func (r *rules[V]) addList(rule rule, value func(any) (V, error)) error {
	for _, configured := range rule.Values {
		v, err := value(configured)
		if err != nil {
			return err
		}
		if other, ok := r.list[v]; ok && other != rule.Shard {
			return fmt.Errorf("value %v goes to shard %d already", configured, other)
		}
		r.list[v] = rule.Shard
	}
	return nil
}

func (r *rules[V]) addRange(rule rule, value func(any) (V, error)) error {
	s := span[V]{noFrom: rule.Start == nil, noTo: rule.End == nil, shard: rule.Shard, rule: rule.name}
	var err error
	if !s.noFrom {
		if s.from, err = value(rule.Start); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	if !s.noTo {
		if s.to, err = value(rule.End); err != nil {
			return fmt.Errorf("end: %w", err)
		}
	}
	if !s.noFrom && !s.noTo && s.from >= s.to {
		return fmt.Errorf("the range from %v to %v is empty: the end is not part of it", rule.Start, rule.End)
	}
	r.ranges = append(r.ranges, s)
	return nil
}

// order sorts the ranges and finds those that overlap.
func (r *rules[V]) order() error {
	slices.SortStableFunc(r.ranges, func(a, b span[V]) int {
		switch {
		case a.noFrom && b.noFrom:
			return 0
		case a.noFrom:
			return -1
		case b.noFrom:
			return 1
		}
		return cmp.Compare(a.from, b.from)
	})
	for i := 1; i < len(r.ranges); i++ {
		if a, b := r.ranges[i-1], r.ranges[i]; a.noTo || b.noFrom || b.from < a.to {
			return fmt.Errorf("%s and %s overlap", a.rule, b.rule)
		}
	}
	return nil
}

// shard finds the shard of a value, -1 if no rule matches. It keeps nothing of v.
func (r *rules[V]) shard(v V) int {
	if s, ok := r.list[v]; ok {
		return s
	}
	// The last range that begins at v or before.
	low, high := 0, len(r.ranges)
	for low < high {
		if middle := (low + high) / 2; r.ranges[middle].noFrom || r.ranges[middle].from <= v {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low > 0 && (r.ranges[low-1].noTo || v < r.ranges[low-1].to) {
		return r.ranges[low-1].shard
	}
	return r.rest
}

// checkShard finds shards that a cluster does not have.
func checkShard(shard, shards int) error {
	switch {
	case shard >= 0 && shard < shards:
		return nil
	case shards == 1:
		return fmt.Errorf("there is no shard %d; the cluster has shard 0 alone", shard)
	}
	return fmt.Errorf("there is no shard %d; the cluster has shards 0 to %d", shard, shards-1)
}

func integerValue(v any) (int64, error) {
	n, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("%#v is not an integer, as data_type = \"bigint\" needs", v)
	}
	return n, nil
}

// uuidValue also takes capital letters: it is a person who writes it.
func uuidValue(v any) (string, error) {
	s, ok := v.(string)
	if ok {
		var u [16]byte
		if u, ok = parseUUID([]byte(strings.ToLower(s))); ok {
			return string(u[:]), nil
		}
	}
	return "", fmt.Errorf("%#v is not a uuid such as \"0190163d-8694-739b-aea5-966c26f8ad91\"", v)
}

func textValue(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%#v is not a string, as data_type = \"varchar\" needs; put it in quotes", v)
	}
	return s, nil
}
