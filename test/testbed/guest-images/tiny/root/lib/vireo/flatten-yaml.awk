# Turns a YAML document into lines "path TAB value", for instance
#   ethernets.eth0.addresses.0	10.0.0.11/24
# Understands what YAML libraries write in block style: nested maps and lists,
# plain and quoted scalars, also folded over several lines, block scalars, short
# flow lists and flow maps. Not anchors, tags or several documents.

# depth, indentOf[], nameOf[], isItem[]: the open maps and lists around a line.
function path(   i, text) {
	for (i = 1; i <= depth; i++) text = text (i > 1 ? "." : "") nameOf[i]
	return text
}
function push(indent, name, item) {
	depth++
	indentOf[depth] = indent
	nameOf[depth] = name
	isItem[depth] = item
}
function trim(text) {
	gsub(/^[ \t]+|[ \t]+$/, "", text)
	return text
}
function unquote(text,   first) {
	first = substr(text, 1, 1)
	if (first == "'") {
		text = substr(text, 2, length(text) - 2)
		gsub(/''/, "'", text)
	} else if (first == "\"") {
		text = substr(text, 2, length(text) - 2)
		gsub(/\\"/, "\"", text)
		gsub(/\\\\/, "\\", text)
	} else {
		sub(/ +#.*$/, "", text)
	}
	return text
}
function emit(where, text,   n, parts, i, colon) {
	if (text ~ /^[[].*[]]$/) {
		n = split(substr(text, 2, length(text) - 2), parts, ",")
		for (i = 1; i <= n; i++) emit(where "." (i - 1), trim(parts[i]))
	} else if (text ~ /^[{].*[}]$/) {
		n = split(substr(text, 2, length(text) - 2), parts, ",")
		for (i = 1; i <= n; i++) {
			colon = index(parts[i], ": ")
			emit(where "." unquote(trim(substr(parts[i], 1, colon - 1))), trim(substr(parts[i], colon + 2)))
		}
	} else {
		print where "\t" unquote(text)
	}
}
# A scalar is printed only when the next line shows that it does not go on.
function flush() {
	if (open) emit(openPath, openText)
	open = 0
}
function start(indent, text) {
	if (text == "") return
	open = 1
	openIndent = indent
	openPath = path()
	openText = text
	literal = (text ~ /^[|>][-+0-9]*$/)
	if (literal) openText = ""
}
function extend(text) {
	if (substr(openText, 1, 1) == "\"" && openText ~ /[^\\]\\$/)
		openText = substr(openText, 1, length(openText) - 1) text
	else
		openText = openText (openText == "" ? "" : " ") text
}
# One line without its leading blanks: "- ..." opens an item, "key: ..." a member.
function line(indent, text,   key, where, rest) {
	if (text ~ /^-( |$)/) {
		while (depth > 0 && (indentOf[depth] > indent || (indentOf[depth] == indent && isItem[depth]))) depth--
		where = path()
		push(indent, count[where]++, 1)
		rest = substr(text, 2)
		match(rest, /^ */)
		line(indent + 1 + RLENGTH, substr(rest, RLENGTH + 1))
	} else if (match(text, /^("[^"]*"|'[^']*'|[^]["'{}, ][^:]*):( |$)/)) {
		while (depth > 0 && indentOf[depth] >= indent) depth--
		key = substr(text, 1, RLENGTH)
		sub(/: ?$/, "", key)
		rest = trim(substr(text, RLENGTH + 1))
		push(indent, unquote(key), 0)
		start(indent, rest)
	} else {
		# What follows the dash of an item goes on as far as it is deeper than the dash.
		start(indentOf[depth], trim(text))
	}
}
{
	sub(/\r$/, "")
	match($0, /^ */)
	indent = RLENGTH
	text = substr($0, indent + 1)
	if (text == "" || (text ~ /^#/ && !(open && literal)) || text == "---") next
	if (open && indent > openIndent) {
		extend(trim(text))
		next
	}
	flush()
	line(indent, text)
}
END {
	flush()
}
