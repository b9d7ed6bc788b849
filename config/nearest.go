package config

import "slices"

// nearest gives the candidate that name was most likely meant to be, or ""
// when none is near: more than two edits and more than a third of the name is
// no slip of the finger.
func nearest(name string, candidates []string) string {
	best, distance := "", max(2, len(name)/3)+1
	for _, candidate := range candidates {
		if d := editDistance(name, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if distance >= max(len(name), len(best)) {
		return "" // nothing of the name would remain
	}
	return best
}

// editDistance is the Levenshtein distance in which two neighbours changing
// places count as one edit (optimal string alignment), because "prot" is how
// "port" is misspelt.
func editDistance(a, b string) int {
	if abs(len(a)-len(b)) > max(2, len(a)/3) {
		return max(len(a), len(b))
	}
	var before []int
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitution := previous[j-1]
			if a[i-1] != b[j-1] {
				substitution++
			}
			row[j] = slices.Min([]int{previous[j] + 1, row[j-1] + 1, substitution})
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, previous = previous, row
	}
	return previous[len(b)]
}

func abs(n int) int { return max(n, -n) }
