package admin

import "strings"

// nearest gives the candidate with the smallest edit distance from word, case
// aside, "" if none is near enough to be meant.
func nearest(word string, candidates []string) string {
	word = strings.ToLower(word)
	best, bestDistance := "", max(2, len(word)/3)+1
	for _, candidate := range candidates {
		if d := editDistance(word, strings.ToLower(candidate)); d < bestDistance && d < len(candidate) {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance in characters. Words longer than any
// keyword could be are cut, to bound the work.
func editDistance(a, b string) int {
	from, to := cut([]rune(a)), cut([]rune(b))
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range from {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range to {
			cost := diagonal
			if r != s {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}

const longestCompared = 128

func cut(r []rune) []rune { return r[:min(len(r), longestCompared)] }
