package config

import "slices"

func sorted(in []string) []string { return slices.Sorted(slices.Values(in)) }
