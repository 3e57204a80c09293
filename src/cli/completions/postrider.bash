# bash completion of postrider: the program itself says what may follow.
_postrider() {
    local words=("${COMP_WORDS[@]:0:COMP_CWORD+1}") quote= value _
    case "${words[COMP_CWORD]}" in
        [\"\']*)
            quote="${words[COMP_CWORD]:0:1}"
            words[COMP_CWORD]="${words[COMP_CWORD]:1}"
            ;;
        *) words[COMP_CWORD]="${words[COMP_CWORD]//\\/}" ;;
    esac
    COMPREPLY=()
    while IFS=$'\t' read -r value _; do
        if [ -z "$value" ]; then
            continue
        elif [ -z "$quote" ]; then
            printf -v value %q "$value"
        fi
        COMPREPLY+=("$value")
    done < <("${words[0]}" complete "$COMP_CWORD" -- "${words[@]}" 2>/dev/null)
    # A directory may go on.
    if [ "${#COMPREPLY[@]}" -eq 1 ] && [[ "${COMPREPLY[0]}" == */ ]]; then
        compopt -o nospace
    fi
}
complete -o bashdefault -o nosort -F _postrider postrider
