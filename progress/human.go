package progress

import (
	"fmt"
	"strconv"
	"time"
)

// Bytes gives an amount as people read it, in steps of 1024: "512 B",
// "2.35 MB".
func Bytes(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	if n < 1<<10 {
		return fmt.Sprintf("%s%d B", sign, n)
	}
	value, unit := float64(n)/(1<<10), 0
	units := []string{"KB", "MB", "GB", "TB", "PB"}
	for value >= 1<<10 && unit < len(units)-1 {
		value, unit = value/(1<<10), unit+1
	}
	return fmt.Sprintf("%s%.2f %s", sign, value, units[unit])
}

// Count gives a number with a comma before every three digits: "1,234,567".
func Count(n int64) string {
	digits, sign := strconv.FormatInt(n, 10), ""
	if n < 0 {
		digits, sign = digits[1:], "-"
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// seconds gives a duration as "0.3 s"; from ten minutes on as "2h3m0s".
func seconds(d time.Duration) string {
	if d >= 10*time.Minute {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.1f s", max(d, 0).Seconds())
}
